"""What is in force of each watched directory: one row each, written with the change that brought it."""

from collections.abc import Sequence

from reconciler.core.sources import Applied
from reconciler.store.database import Database
from reconciler.store.tables import SourceRow


def insert(database: Database, records: Sequence[Applied], revision: int | None) -> None:
    """Inside `database.write`. `revision` is that of the change; without one, the old one stays."""
    for record in records:
        row = {
            "name": record.name,
            "path": record.path,
            "commit": record.commit,
            "digest": record.digest,
            "revision": record.revision if revision is None else revision,
            "at": record.at,
            "told": record.told,
        }
        database.run(SourceRow.insert(row).on_conflict_replace())


def select(database: Database) -> dict[str, Applied]:
    """Inside `database.read`: by name."""
    return {
        row[0]: Applied(
            name=row[0],
            path=row[1],
            commit=row[2],
            digest=row[3],
            revision=row[4],
            at=row[5],
            told=row[6],
        )
        for row in database.rows(SourceRow.select())
    }
