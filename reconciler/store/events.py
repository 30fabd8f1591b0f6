"""What happened, in sentences, for people: bounded, the oldest go first."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from reconciler.core.events import WORDS, Event
from reconciler.core.plan import Forget
from reconciler.store.database import Database
from reconciler.store.tables import EventRow

KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it is kept; ids grow."""

    id: int
    event: Event


def insert(database: Database, events: Sequence[Event]) -> None:
    """Inside `database.write`."""
    if events:
        database.insert(EventRow, [asdict(event) for event in events])
        ((last,),) = database.sql("SELECT max(id) FROM event")
        database.run(EventRow.delete().where(EventRow.id <= last - KEPT))


def select(
    database: Database, since: int | None, kind: str | None, name: str | None, limit: int
) -> tuple[Recorded, ...]:
    """Inside `database.read`: the first `limit` after `since`, or the last `limit` without it."""
    query = EventRow.select()
    if kind is not None:
        query = query.where(EventRow.kind == kind)
    if name is not None:
        query = query.where(EventRow.name == name)
    if since is None:
        newest = database.rows(query.order_by(EventRow.id.desc()).limit(limit))
        return tuple(_recorded(*row) for row in reversed(newest))
    later = query.where(EventRow.id > since).order_by(EventRow.id).limit(limit)
    return tuple(_recorded(*row) for row in database.rows(later))


def was_deleted(database: Database, kind: str, uid: str) -> bool:
    """Inside `database.read`: whether there was such an object, as far as events go back."""
    known = (EventRow.uid == uid) & (EventRow.kind == kind) & (EventRow.reason == WORDS[Forget])
    return bool(database.rows(EventRow.select(EventRow.id).where(known).limit(1)))


def _recorded(
    id_: int, at: float, kind: str, name: str, uid: str, reason: str, message: str
) -> Recorded:
    return Recorded(
        id_, Event(at=at, kind=kind, name=name, uid=uid, reason=reason, message=message)
    )
