"""The store: desired state, placements and events, each write fenced by revision and term."""

import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from manifests.scalars import Uid
from reconciler.core.desired import Change
from reconciler.core.events import Event
from reconciler.core.model import Snapshot
from reconciler.core.plan import Plan
from reconciler.core.sources import Applied
from reconciler.store import audit, keys, sources
from reconciler.store import events as journal
from reconciler.store.apply import Work, execute
from reconciler.store.audit import Audited
from reconciler.store.database import MEMORY, Database
from reconciler.store.errors import Deposed, Stale, StoreFailed
from reconciler.store.events import Recorded
from reconciler.store.keys import KeyUse
from reconciler.store.migrations import migrate
from reconciler.store.records import Record, insert
from reconciler.store.rows import object_row
from reconciler.store.tables import MetaRow, ObjectRow
from reconciler.store.view import View, read, reread


class Store:
    """Give a Database instead of a path to open another Store on it, as after a crash."""

    def __init__(
        self,
        database: Database | Path | str = MEMORY,
        *,
        synchronous: str = "FULL",
        cluster: Uid | None = None,
    ) -> None:
        opened = isinstance(database, Database)
        self.database = (
            database
            if isinstance(database, Database)
            else Database(database, synchronous=synchronous)
        )
        self._lock = threading.Lock()
        self._view: View | None = None
        try:
            migrate(self.database)
            self.term = self._found(cluster)
            self.cluster = self.snapshot().cluster
        except BaseException:
            if not opened:
                self.database.close()
            raise

    def close(self) -> None:
        self.database.close()

    @property
    def writes(self) -> int:
        """Rows written so far, by this process."""
        return self.database.writes

    @property
    def failure(self) -> str:
        """Why nothing can be written until the process is restarted, or ""."""
        return self.database.failure

    def take_term(self) -> int:
        """Become the controller: what others write with an older term is refused from now on."""
        with self.database.write():
            self.database.run(MetaRow.update(term=MetaRow.term + 1))
            ((self.term,),) = self.database.rows(MetaRow.select(MetaRow.term))
        return self.term

    def snapshot(self) -> Snapshot:
        """What is stored now; costs nothing while nobody writes."""
        if view := self._view:
            return view.snapshot
        with self._lock:
            if self._view is None:
                with self.database.read():
                    self._view = read(self.database)
            return self._view.snapshot

    def submit(
        self,
        changes: Sequence[Change],
        *,
        revision: int,
        also: Sequence[Record] = (),
    ) -> int:
        """Store desired state, and `also` in the same transaction; the new revision.

        Raises Stale unless the store is at `revision`, where it stays if there are no changes.
        """
        if not changes:
            if also:
                with self.database.write():
                    self._check(revision)
                    insert(self.database, also, None)
            return revision
        with self._writing(revision) as work:
            _submit(work, changes)
            insert(self.database, also, work.revision)
        return work.revision

    def commit(self, plan: Plan, *, revision: int, term: int, events: Sequence[Event] = ()) -> int:
        """Carry out a plan made from the snapshot at `revision`, as the controller of `term`."""
        if not plan:
            self.record(events)
            return revision
        with self._writing(revision, term) as work:
            execute(work, plan.operations)
            insert(self.database, events, work.revision)
        return work.revision

    def record(self, records: Sequence[Record]) -> None:
        """Write down what comes with no change: all of it, or nothing."""
        if records:
            with self.database.write():
                insert(self.database, records, None)

    def events(
        self,
        since: int | None = None,
        kind: str | None = None,
        name: str | None = None,
        limit: int = 1000,
    ) -> tuple[Recorded, ...]:
        """The first `limit` events after the id `since`; without it, the last ones. Oldest first."""
        with self.database.read():
            return journal.select(self.database, since, kind, name, limit)

    def audited(self, since: int | None = None, limit: int = 1000) -> tuple[Audited, ...]:
        """Likewise, of the audit."""
        with self.database.read():
            return audit.select(self.database, since, limit)

    def was_deleted(self, kind: str, uid: Uid) -> bool:
        """Whether an object of this identity was here and is gone, as far as events go back."""
        with self.database.read():
            return journal.was_deleted(self.database, kind, uid)

    def key_use(self, key: str, now: float) -> KeyUse | None:
        """What was made with this idempotency key, unless that was too long ago."""
        with self.database.read():
            return keys.select(self.database, key, now)

    def sources(self) -> dict[str, Applied]:
        """What is in force of each watched directory, by the name of its source."""
        with self.database.read():
            return sources.select(self.database)

    @contextmanager
    def _writing(self, revision: int, term: int | None = None) -> Iterator[Work]:
        """One transaction at `revision`, and the cached snapshot brought up to date with it."""
        with self._lock:
            with self.database.write():
                work = Work(self.database, self._advance(revision, term))
                view = self._view or read(self.database)
                yield work
                view = reread(self.database, view, work.touched)
            self._view = view

    def _advance(self, revision: int, term: int | None) -> int:
        self._check(revision, term)
        self.database.sql("UPDATE meta SET revision = revision + 1")
        return revision + 1

    def _check(self, revision: int, term: int | None = None) -> None:
        ((now, reigning),) = self.database.sql("SELECT revision, term FROM meta")
        if term not in (None, reigning):
            raise Deposed(f"another controller took over in term {reigning}; ours was {term}")
        if now != revision:
            raise Stale(f"the store is at revision {now}, not {revision}")

    def _found(self, cluster: Uid | None) -> int:
        """The term so far; an empty file becomes a new cluster."""
        with self.database.write():
            if not (rows := self.database.rows(MetaRow.select(MetaRow.term))):
                name = cluster or Uid(uuid.uuid4())
                row = MetaRow.insert(id=1, cluster=name, revision=1, term=0)
                self.database.run(row)
                return 0
        if len(rows) != 1:
            raise StoreFailed(f"{self.database.path} is damaged: it describes several clusters")
        return int(rows[0][0])


def _submit(work: Work, changes: Sequence[Change]) -> None:
    created = [change.after for change in changes if change.after and not change.before]
    work.database.insert(ObjectRow, [object_row(item) for item in created])
    for change in changes:
        before, after = change.before, change.after
        if before and after:
            row = ObjectRow.update(object_row(after)).where(ObjectRow.uid == before.uid)
            work.one(row, change.key)
        elif before:
            row = ObjectRow.update(deleting=True).where(ObjectRow.uid == before.uid)
            work.one(row, change.key)
        if subject := after or before:
            work.touched.objects[change.key] = subject.uid
