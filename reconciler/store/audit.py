"""The audit as it is kept: bounded, the oldest go first; what was done and what was refused are
bounded apart, so that nobody can flood away the traces of a change by being refused."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reconciler.core.audit import Entry
from reconciler.store.database import Database
from reconciler.store.tables import AuditRow

KEPT = 50_000
"""Entries of either sort."""
PRUNED_EVERY = 256
"""Entries."""


@dataclass(frozen=True, slots=True)
class Audited:
    """An entry as it is kept; ids grow. `revision` is that of the change, None without one."""

    id: int
    entry: Entry
    revision: int | None


def insert(database: Database, entries: Sequence[Entry], revision: int | None) -> None:
    """Inside `database.write`."""
    rows = [
        asdict(entry)
        | {
            "objects": json.dumps(entry.objects),
            "refused": bool(entry.error),
            "revision": revision,
        }
        for entry in entries
    ]
    database.insert(AuditRow, rows)
    ((last,),) = database.sql("SELECT max(id) FROM audit")
    if last % PRUNED_EVERY < len(rows):
        _prune(database)


def _prune(database: Database) -> None:
    for refused in (False, True):
        mine = AuditRow.select(AuditRow.id).where(AuditRow.refused == refused)
        found = database.rows(mine.order_by(AuditRow.id.desc()).offset(KEPT).limit(1))
        for (newest,) in found:
            old = (AuditRow.refused == refused) & (AuditRow.id <= newest)
            database.run(AuditRow.delete().where(old))


def select(database: Database, since: int | None, limit: int) -> tuple[Audited, ...]:
    """Inside `database.read`: the first `limit` after `since`, or the last `limit` without it."""
    query = AuditRow.select()
    if since is None:
        newest = database.rows(query.order_by(AuditRow.id.desc()).limit(limit))
        return tuple(_audited(*row) for row in reversed(newest))
    later = query.where(AuditRow.id > since).order_by(AuditRow.id).limit(limit)
    return tuple(_audited(*row) for row in database.rows(later))


def _audited(*row: Any) -> Audited:
    id_, at, who, peer, method, path, action, status, objects, error, message, times, *rest = row
    entry = Entry(
        at=at,
        who=who,
        peer=peer,
        method=method,
        path=path,
        action=action,
        status=status,
        objects=tuple(json.loads(objects)),
        error=error,
        message=message,
        times=times,
    )
    return Audited(id_, entry, rest[0])
