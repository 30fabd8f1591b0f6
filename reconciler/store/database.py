"""The connection: one per process, behind a lock, durable, exclusive.

SQLite has one writer at a time anyway, and readers use the cached snapshot, so that one connection
is enough; none can leak with a thread that ends. ":memory:" works the same way and stays as long as
the Database does: a simulated crash is a new Store on the same Database.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peewee

from manifests.durable import sync_directory
from reconciler.store.errors import Duplicate, StoreError, StoreFailed, StoreFull, StoreLocked

MEMORY = ":memory:"
LOST = ("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB")
PRAGMAS = {"foreign_keys": 1, "cell_size_check": 1}
DURABLE = {"journal_mode": "wal", "journal_size_limit": 64 << 20}


class Database:
    def __init__(self, path: str | Path = MEMORY, *, synchronous: str = "FULL") -> None:
        self.path = str(path)
        self._lock = threading.Lock()
        self._failure = ""
        self._claim = _claim(Path(path)) if self.path != MEMORY else None
        pragmas = PRAGMAS | {"synchronous": synchronous} | (DURABLE if self._claim else {})
        self._peewee: Any = peewee.SqliteDatabase(
            self.path,
            pragmas=pragmas,
            lock_type="IMMEDIATE",
            timeout=10,
            autoconnect=False,
            thread_safe=False,
            check_same_thread=False,
        )
        try:
            with self._translated():
                self._peewee.connect()
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._peewee.close()
            if self._claim is not None:
                os.close(self._claim)
                self._claim = None

    @property
    def failure(self) -> str:
        """Why nothing can be written any more, or ""."""
        return self._failure

    @property
    def writes(self) -> int:
        """Rows inserted, changed and deleted since the connection was opened."""
        return int(self._peewee.connection().total_changes)

    @contextmanager
    def write(self) -> Iterator[None]:
        """A transaction, durable when the block is left without an exception."""
        with self._lock, self._translated():
            if self._failure:
                raise StoreFailed(self._failure)
            with self._peewee.atomic():
                yield

    @contextmanager
    def read(self) -> Iterator[None]:
        with self._lock, self._translated():
            yield

    def run(self, query: peewee.Query) -> Any:
        """Inside `write` or `read`. The number of rows, for an UPDATE or DELETE."""
        return query.execute(self._peewee)

    def rows(self, query: Any) -> list[Any]:
        """Inside `write` or `read`: the rows of a SELECT as tuples."""
        return list(query.tuples().execute(self._peewee))

    def insert(self, table: type[peewee.Model], rows: Sequence[Mapping[str, Any]]) -> None:
        """Inside `write`: rows of the same columns, quickly. Raises Duplicate."""
        if rows:
            columns = ", ".join(rows[0])
            marks = ", ".join("?" * len(rows[0]))
            name = table._meta.table_name
            text = f"INSERT INTO {name} ({columns}) VALUES ({marks})"  # noqa: S608 - our own names
            values = [tuple(row.values()) for row in rows]
            try:
                self._peewee.connection().executemany(text, values)
            except sqlite3.IntegrityError as error:
                raise Duplicate(f"{self.path}: {error}") from error

    def sql(self, text: str, parameters: Iterable[Any] = ()) -> list[Any]:
        return list(self._peewee.execute_sql(text, tuple(parameters)).fetchall())

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (peewee.PeeweeException, sqlite3.Error) as error:
            raise self._plain(error) from error

    def _plain(self, error: Exception) -> StoreError:
        origin = _first(error)
        name = getattr(origin, "sqlite_errorname", "")
        if name == "SQLITE_FULL":
            return StoreFull(f"{self.path}: no room on the disk; nothing was stored")
        if name.startswith(LOST):
            self._failure = f"{self.path}: {origin} ({name})"
            return StoreFailed(self._failure)
        return StoreError(f"{self.path}: {origin}")


def _first(error: BaseException) -> BaseException:
    """What went wrong first: after some errors, SQLite has nothing left to roll back, which is said
    by an error of its own."""
    origin = error
    while isinstance(error.__context__, peewee.PeeweeException | sqlite3.Error):
        error = error.__context__
        origin = error if isinstance(error, sqlite3.Error) else origin
    return origin


def _claim(path: Path) -> int:
    """The lock on the file, which is created where it is missing; raises StoreLocked."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        claim = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _create(path)
    except BlockingIOError:
        os.close(claim)
        raise StoreLocked(f"{path} is in use by another process; stop it first") from None
    except OSError as error:
        os.close(claim)
        raise StoreError(f"{path}: {error.strerror}") from error
    return claim


def _create(path: Path) -> None:
    """An empty file that only we may read; its directories remember it after a power cut."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(file, 0o600)
    os.close(file)
    for directory in (path.parent, path.parent.parent):
        sync_directory(directory)
