"""The steps from an empty file to today's schema: numbered, never changed once released.

A step is a list of statements; all that are missing run in one transaction. A file that knows more
steps than this program is of a newer version, and is refused.
"""

from reconciler.store.database import Database
from reconciler.store.errors import StoreError

FIRST = (
    """CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 1), cluster TEXT NOT NULL,
        revision INTEGER NOT NULL, term INTEGER NOT NULL)""",
    """CREATE TABLE object (
        uid TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL,
        manifest TEXT NOT NULL, generation INTEGER NOT NULL, deleting INTEGER NOT NULL,
        created REAL NOT NULL, size INTEGER NOT NULL, UNIQUE (kind, name))""",
    """CREATE TABLE placement (
        uid TEXT NOT NULL, epoch INTEGER NOT NULL, node TEXT NOT NULL,
        stage TEXT NOT NULL CHECK (stage IN ('active', 'leaving', 'gone')),
        spec TEXT NOT NULL, wire TEXT NOT NULL, generation INTEGER NOT NULL,
        since INTEGER NOT NULL, PRIMARY KEY (uid, epoch))""",
    "CREATE INDEX placement_gone ON placement (since) WHERE stage = 'gone'",
    """CREATE TABLE port_claim (
        node TEXT NOT NULL, protocol TEXT NOT NULL, port INTEGER NOT NULL,
        uid TEXT NOT NULL, epoch INTEGER NOT NULL, PRIMARY KEY (node, protocol, port),
        FOREIGN KEY (uid, epoch) REFERENCES placement (uid, epoch))""",
    "CREATE INDEX port_claim_owner ON port_claim (uid, epoch)",
    "CREATE TABLE generation (node TEXT PRIMARY KEY, generation INTEGER NOT NULL)",
    """CREATE TABLE event (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL,
        name TEXT NOT NULL, uid TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL)""",
    "CREATE INDEX event_object ON event (kind, name, id)",
)

AUDIT = (
    """CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL,
        peer TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, action TEXT NOT NULL,
        status INTEGER NOT NULL, objects TEXT NOT NULL, error TEXT NOT NULL,
        message TEXT NOT NULL, times INTEGER NOT NULL, revision INTEGER,
        refused INTEGER NOT NULL)""",
    "CREATE INDEX audit_refused ON audit (refused, id)",
)

EVENTS_BY_UID = ("CREATE INDEX event_uid ON event (uid)",)

KEYS = (
    """CREATE TABLE key_use (
        id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, digest TEXT NOT NULL,
        kind TEXT NOT NULL, uid TEXT NOT NULL, at REAL NOT NULL)""",
    "CREATE INDEX key_use_at ON key_use (at)",
)

SOURCE = (
    """CREATE TABLE source (
        name TEXT PRIMARY KEY, path TEXT NOT NULL, "commit" TEXT NOT NULL, digest TEXT NOT NULL,
        revision INTEGER NOT NULL, at REAL NOT NULL, told TEXT NOT NULL)""",
)

STEPS: tuple[tuple[str, ...], ...] = (FIRST, AUDIT, EVENTS_BY_UID, KEYS, SOURCE)


def migrate(database: Database) -> None:
    """Bring the schema up to date; nothing is written when it is."""
    with database.write():
        done = _done(database)
        if done > len(STEPS):
            raise StoreError(
                f"{database.path} is of a newer version of this program"
                f" (schema {done}, this one knows {len(STEPS)}); install that version"
            )
        for number, step in enumerate(STEPS[done:], done + 1):
            for statement in step:
                database.sql(statement)
            database.sql("INSERT INTO migration (number) VALUES (?)", [number])


def _done(database: Database) -> int:
    known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migration'"
    if not database.sql(known):
        database.sql("CREATE TABLE migration (number INTEGER PRIMARY KEY)")
    ((number,),) = database.sql("SELECT coalesce(max(number), 0) FROM migration")
    return int(number)
