"""Idempotency keys: which request made which object. Kept for a day, so that whoever got no answer
may ask again."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from manifests.scalars import Uid
from reconciler.store.database import Database
from reconciler.store.tables import KeyRow

KEPT = 100_000
KEPT_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """`digest` is that of all that was asked for with the key, `at` epoch seconds."""

    key: str
    digest: str
    kind: str
    uid: Uid
    at: float


def insert(database: Database, uses: Sequence[KeyUse]) -> None:
    """Inside `database.write`. Raises Duplicate."""
    now = max(use.at for use in uses)
    # The old ones first: theirs may be among them.
    database.run(KeyRow.delete().where(KeyRow.at < now - KEPT_SECONDS))
    database.insert(KeyRow, [asdict(use) for use in uses])
    ((last,),) = database.sql("SELECT max(id) FROM key_use")
    database.run(KeyRow.delete().where(KeyRow.id <= last - KEPT))


def select(database: Database, key: str, now: float) -> KeyUse | None:
    """Inside `database.read`."""
    known = KeyRow.select().where((KeyRow.key == key) & (KeyRow.at >= now - KEPT_SECONDS))
    for _, text, digest, kind, uid, at in database.rows(known):
        return KeyUse(key=text, digest=digest, kind=kind, uid=Uid(uid), at=at)
    return None
