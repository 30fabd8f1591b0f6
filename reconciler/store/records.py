"""What can be written beside a change, in its transaction: one table, type of record -> writer.

To add one: its frozen dataclass (in `core`, or beside its writer), its table, a step of the
migrations, and a line in WRITERS. Give it to `Store.submit(also=...)`, or to `Store.record`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from reconciler.core.audit import Entry
from reconciler.core.events import Event
from reconciler.core.sources import Applied
from reconciler.store import audit, events, keys, sources
from reconciler.store.database import Database
from reconciler.store.keys import KeyUse

Record = Event | Entry | KeyUse | Applied
Writer = Callable[[Database, Sequence[Any], int | None], None]
"""(database, records of one type, revision of the change or None without one)."""

WRITERS: dict[type[Record], Writer] = {
    Event: lambda database, records, _: events.insert(database, records),
    Entry: audit.insert,
    KeyUse: lambda database, records, _: keys.insert(database, records),
    Applied: sources.insert,
}


def insert(database: Database, records: Sequence[Record], revision: int | None) -> None:
    """Inside `database.write`."""
    for type_ in dict.fromkeys(map(type, records)):
        chosen = [record for record in records if type(record) is type_]
        WRITERS[type_](database, chosen, revision)
