"""What is written down for people when something changes: one event per operation and object."""

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.core.desired import Change
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
