"""What is written down for people when something changes: one event per operation and object."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from manifests.scalars import Uid
from manifests.wire import Phase, Report
from reconciler.core.desired import Change
from reconciler.core.model import Snapshot
from reconciler.core.plan import Forget, Place, Plan, Release, Retire, Update


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`reason` is one CamelCase word, `message` a sentence, `at` epoch seconds."""

    at: float
    kind: str
    name: str
    uid: str
    reason: str
    message: str


WORDS = {
    Place: "Placed",
    Update: "Updated",
    Retire: "Retired",
    Release: "Released",
    Forget: "Deleted",
}


def events_of(plan: Plan, at: float) -> tuple[Event, ...]:
    """One event per operation of a plan."""
    events = []
    for op in plan.operations:
        target = op.wire if isinstance(op, Place | Update) else op
        kind = op.kind if isinstance(op, Forget) else "Machine"
        where = "" if isinstance(op, Forget) else f"{op.node}: "
        events.append(
            Event(
                at=round(at, 3),
                kind=kind,
                name=target.name,
                uid=target.uid,
                reason=WORDS[type(op)],
                message=where + op.reason,
            )
        )
    return tuple(events)


def events_of_changes(changes: Iterable[Change], at: float, source: str) -> tuple[Event, ...]:
    """One event per object that a submission creates, changes or deletes."""
    events = []
    for change in changes:
        item = change.after or change.before
        assert item is not None
        created, deleted = change.before is None, change.after is None
        word = "Created" if created else "DeletionRequested" if deleted else "Changed"
        events.append(
            Event(
                at=round(at, 3),
                kind=item.manifest.kind,
                name=item.name,
                uid=item.uid,
                reason=word,
                message=f"by {source}, generation {item.generation}",
            )
        )
    return tuple(events)


PHASES = {Phase.RUNNING: "Running", Phase.FAILED: "Failed", Phase.STOPPED: "Stopped"}


def events_of_reports(
    snapshot: Snapshot, before: Mapping[str, Report], at: float
) -> tuple[Event, ...]:
    """What the agents saw happen since `before`, by node: restarts, failures, ends.

    Of a node that was not in `before` nothing is told: its report says what is, not what happened.
    """
    names = {item.uid: item.name for item in snapshot.of_kind("Machine")}
    return tuple(
        Event(at=round(at, 3), kind="Machine", name=names[uid], uid=uid, reason=word, message=text)
        for node, seen in sorted(snapshot.seen.items())
        if seen.report is not None and node in before and before[node] is not seen.report
        for uid, word, text in _happened(node, before[node], seen.report)
        if uid in names
    )


def _happened(node: str, old: Report, new: Report) -> Iterator[tuple[Uid, str, str]]:
    known = {(machine.uid, machine.epoch): machine for machine in old.machines}
    for machine in new.machines:
        last = known.get((machine.uid, machine.epoch))
        if last is not None and machine.restarts > last.restarts:
            why = f": {last.reason}" if last.reason else ""
            yield machine.uid, "Restarted", f"{node}: restart {machine.restarts}{why}"
        elif machine.phase in PHASES and (last is None or last.phase is not machine.phase):
            yield (
                machine.uid,
                PHASES[machine.phase],
                f"{node}: {machine.reason or machine.instance}",
            )
