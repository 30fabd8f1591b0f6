"""What a submission will do, line by line, for people and programs: the text of `plan`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum

from manifests.change import Effect, FieldChange, strongest
from manifests.codec import camel, dump
from manifests.scalars import Uid
from reconciler.core.desired import Change
from reconciler.core.model import Key, Object, Placed, Snapshot, newest
from reconciler.core.passes.draft import changes_of
from reconciler.core.plan import Place, Plan, Retire

EMPTY = Plan()


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    RESTART = "restart"
    REPLACE = "replace"
    DELETE = "delete"


BY_EFFECT = {
    Effect.IN_PLACE: Action.UPDATE,
    Effect.RESTART: Action.RESTART,
    Effect.REPLACE: Action.REPLACE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLine:
    """One object and what happens to it. `changes` are its changed fields, for updates."""

    action: Action
    kind: str
    name: str
    reason: str = ""
    changes: tuple[FieldChange, ...] = ()


def plan_lines(
    after: Snapshot, changes: Iterable[Change], plan: Plan, before: Plan = EMPTY
) -> tuple[PlanLine, ...]:
    """The lines of a submission. `after` is the snapshot with `changes` merged in, `plan` its plan;
    `before` is the plan without it: what waits in that one is not the submission's doing."""
    known = {wait.stops for wait in before.waits if wait.stops}
    return tuple(_lines(after, tuple(changes), plan, known))


def _lines(
    after: Snapshot, changes: tuple[Change, ...], plan: Plan, known: set[Uid]
) -> Iterator[PlanLine]:
    reasons = _reasons(plan)
    placed = newest(after.placements)
    named: set[Key] = set()
    for change in changes:
        named.add(change.key)
        yield _line(after, change, placed, reasons)
    # What follows from the changes for machines that were not submitted: a new image, a lost node.
    for op in plan.operations:
        if isinstance(op, Retire) and ("Machine", op.name) not in named and _replaces(after, op):
            reason = op.reason.removeprefix("replace: ")
            yield PlanLine(action=Action.REPLACE, kind="Machine", name=op.name, reason=reason)
    for wait in plan.waits:
        if wait.stops and wait.stops not in known and (wait.kind, wait.name) not in named:
            yield PlanLine(
                action=Action.REPLACE, kind=wait.kind, name=wait.name, reason=wait.reason
            )


def _replaces(after: Snapshot, op: Retire) -> bool:
    """Whether the machine goes on elsewhere: it was neither deleted before, nor is it a late one."""
    item = after.get("Machine", op.name)
    late = after.gone.get((op.gone_on or op.node, op.uid)) == op.epoch
    return item is not None and not item.deleting and not late


def _reasons(plan: Plan) -> dict[Key, str]:
    """What the plan says of each object: where a machine goes, or why it waits."""
    reasons: dict[Key, str] = {}
    for op in plan.operations:
        if isinstance(op, Place):
            reasons["Machine", op.wire.name] = f"on {op.node}: {op.reason}"
        elif isinstance(op, Retire):
            reasons.setdefault(("Machine", op.name), op.reason)
    for wait in plan.waits:
        reasons[wait.kind, wait.name] = wait.reason
    return reasons


def _line(
    after: Snapshot, change: Change, placed: dict[str, Placed], reasons: dict[Key, str]
) -> PlanLine:
    kind, name = change.key
    reason = reasons.get(change.key, "")
    if change.after is None:
        return PlanLine(action=Action.DELETE, kind=kind, name=name, reason=_why_gone(change))
    if change.before is None:
        return PlanLine(action=Action.CREATE, kind=kind, name=name, reason=reason)
    found = _changed(after, change.before, change.after, placed.get(change.after.uid))
    action = BY_EFFECT[strongest(found) or Effect.IN_PLACE]
    waits = reason if action is not Action.REPLACE or reason.startswith("cannot") else ""
    return PlanLine(action=action, kind=kind, name=name, reason=waits, changes=found)


def _why_gone(change: Change) -> str:
    assert change.before is not None
    owner = change.before.source
    if change.by == owner:
        return f"no longer in {owner}"
    return f"deleted by {change.by}" + ("" if owner == "api" else f"; {owner} will make it again")


def _changed(
    after: Snapshot, old: Object, new: Object, placed: Placed | None
) -> tuple[FieldChange, ...]:
    found: tuple[FieldChange, ...] = ()
    if old.manifest.labels != new.manifest.labels:
        labels = dict(old.manifest.labels), dict(new.manifest.labels)
        found += (FieldChange("labels", *labels, Effect.IN_PLACE, "for selecting only"),)
    if placed is not None:
        return found + changes_of(after, new, placed)
    return found + _plain(old, new)


def _plain(old: Object, new: Object) -> tuple[FieldChange, ...]:
    """Changed fields of an object nothing runs of."""
    return tuple(
        FieldChange(camel(item.name), dump(before), dump(now), None)
        for item in fields(old.manifest.spec)
        if (before := getattr(old.manifest.spec, item.name))
        != (now := getattr(new.manifest.spec, item.name))
    )
