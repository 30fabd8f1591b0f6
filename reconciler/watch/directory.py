"""One watched directory: look, and hand in what is there if it is another than before.

What is there is applied whole, or refused whole with the last good one staying in force. Whatever is
not known for certain (an empty directory, an unreadable file, a repository in the middle of a
rebase) removes nothing.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from manifests.kinds import Manifest
from manifests.load import Document
from manifests.problem import Problem
from reconciler.core.events import Event
from reconciler.core.model import Key, Object, Snapshot
from reconciler.core.preview import Outcome
from reconciler.core.sources import SOURCE_KIND, Applied, Source, State
from reconciler.sources import Sources
from reconciler.store import Record, StoreError
from reconciler.submit import Braked, Conflicts, Desk, Invalid, Refused
from reconciler.watch import git, plain
from reconciler.watch.bell import Bell
from reconciler.watch.found import GIT, PLAIN, Found, Paused, Stopped, Unreadable
from reconciler.watch.loading import collisions, load, located
from reconciler.watch.pacing import Again
from reconciler.watch.range import range_of

log = logging.getLogger("reconciler.watch")

MOST = 1000
"""Problems and notes that are kept of one directory."""
HANGS = 3
"""So often the bell is hung anew when directories are replaced while it is hung."""

WORDS = {
    State.APPLIED: "Applied",
    State.BROKEN: "Broken",
    State.CONFLICT: "Conflict",
    State.WAITING: "NeedsApproval",
    State.PAUSED: "Paused",
    State.EMPTY: "Empty",
    State.UNREADABLE: "Unreadable",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look came to; `again` is None where all was as before. `new`: there was another content
    than at the look before."""

    again: Again | None = None
    new: bool = False


class Directory:
    def __init__(
        self,
        name: str,
        path: str,
        *,
        desk: Desk,
        sources: Sources,
        clock: Callable[[], float],
        ring: Callable[[], None],
        stopping: Callable[[], bool],
    ) -> None:
        self.name = name
        self.path = path
        self._desk = desk
        self._store = desk.cluster.store
        self._sources = sources
        self._clock = clock
        self._stopping = stopping
        self._bell = Bell(ring)
        self._deaf = ""
        self._tried = ""
        self._names: frozenset[str] = frozenset()
        self._doubted = ""
        self._objects: Mapping[Key, Object] | None = None
        self._mine: dict[Key, Manifest] = {}
        self._row = self._store.sources().get(name) or Applied(name=name, path=path)
        self._source = Source(name=name, path=path)
        sources.put(self._source)

    def close(self) -> None:
        self._bell.take_down()

    def drifted(self, snapshot: Snapshot) -> bool:
        """Whether what the directory put in force is no longer so; cheap while nothing changed."""
        if self._objects is None or snapshot.objects is self._objects:
            return False
        self._objects = snapshot.objects
        return _owned(snapshot, self.name) != self._mine

    def look(self, *, tries: bool) -> Look:
        """Read the directory; apply it if it is another than before, or if `tries`."""
        try:
            found = self._read()
        except Stopped:
            return Look()
        except Paused as error:
            return self._idle(State.PAUSED, str(error), kind=GIT)
        except Unreadable as error:
            return self._idle(State.UNREADABLE, str(error))
        if not found.files and not found.problems:
            reason = found.empty or "there are no manifests in it"
            return self._idle(State.EMPTY, f"{reason}; nothing is removed for that", found=found)
        return self._consider(found, tries)

    def _read(self) -> Found:
        for _ in range(HANGS):
            place = git.find(self.path)
            range_ = range_of(self.path, place)
            self._hear(self._bell.hang(range_))
            if range_of(self.path, git.find(self.path)).directories == range_.directories:
                break
        if place is None:
            return plain.read(self.path, self._stopping)
        return git.read(place, self._stopping)

    def _hear(self, deaf: str) -> None:
        if deaf and deaf != self._deaf:
            log.warning("%s: %s; looking every minute instead", self.name, deaf)
        self._deaf = deaf

    def _idle(self, state: State, reason: str, kind: str = "", found: Found | None = None) -> Look:
        """Nothing to apply."""
        self._tried = ""
        self._objects = None
        self._tell(
            replace(
                self._blank(found),
                kind=kind or (found.kind if found else self._source.kind),
                state=state,
                reason=reason,
            )
        )
        return Look(again=Again.LATER if state is State.UNREADABLE else Again.NO)

    def _consider(self, found: Found, tries: bool) -> Look:
        content = f"{found.digest} {found.commit}"
        new = content != self._tried
        approved = self._sources.approved(self.name, found.digest)
        if not (new or tries or approved or self.drifted(self._desk.cluster.snapshot())):
            return Look()
        if self._doubtful(found, content):
            return Look(again=Again.SOON, new=True)
        self._tried = content
        self._names = frozenset(name for name, _ in found.files)
        return Look(again=self._apply(found, approved), new=new)

    def _doubtful(self, found: Found, content: str) -> bool:
        """Whether files are missing that may be back in a moment: editors and copies do that. Seen
        twice, it is meant. A commit always is."""
        missing = self._names - {name for name, _ in found.files}
        if found.kind == PLAIN and missing and self._doubted != content:
            self._doubted = content
            return True
        self._doubted = ""
        return False

    def _apply(self, found: Found, approve: bool) -> Again:
        documents, problems = load(found)
        if problems:
            self._faulty(found, State.BROKEN, problems)
            return Again.NO
        try:
            self._hand_in(found, documents, approve=approve)
        except Invalid as error:
            self._faulty(found, State.BROKEN, located(documents, error.faults))
            return Again.LATER  # bytes of images may come
        except Conflicts as error:
            self._faulty(found, State.CONFLICT, collisions(documents, error.conflicts))
            return Again.WHEN_CHANGED
        except Braked as error:
            self._wait(found, documents, str(error))
            return Again.WHEN_CHANGED
        except (Refused, StoreError) as error:
            log.warning("%s: %s; it is tried again", self.name, error)
            return Again.LATER
        return Again.NO

    def _hand_in(self, found: Found, documents: Sequence[Document], *, approve: bool) -> None:
        source = replace(self._blank(found), state=State.APPLIED)
        told = _told(source)
        row = replace(
            self._row, path=self.path, commit=found.commit, digest=found.digest, told=told
        )

        def also(changed: int) -> Sequence[Record]:
            if not changed and row == self._row:
                return ()
            now = round(self._clock(), 3)
            event = self._event(State.APPLIED, _summary(found, changed), now)
            return replace(row, at=now), event

        outcome = self._submit(documents, approve=approve, also=also)
        self._row = self._store.sources().get(self.name, row)
        snapshot = self._desk.cluster.snapshot()
        self._objects, self._mine = snapshot.objects, _owned(snapshot, self.name)
        self._sources.spent(self.name)
        self._show(source)
        if outcome.changed:
            log.info("%s: %s", self.name, _summary(found, outcome.changed))

    def _submit(
        self,
        documents: Sequence[Document],
        *,
        approve: bool = False,
        dry_run: bool = False,
        also: Callable[[int], Sequence[Record]] = lambda changed: (),
    ) -> Outcome:
        return self._desk.apply(
            [document.data for document in documents],
            source=self.name,
            prune=True,
            approve=approve,
            dry_run=dry_run,
            also=also,
        )

    def _faulty(self, found: Found, state: State, problems: Sequence[Problem]) -> None:
        rest = len(problems) - 1
        first = str(problems[0]).removeprefix(":1:1: ")  # of something that is not in a file
        reason = first + (f" (and {rest} more)" if rest else "")
        source = replace(self._blank(found), state=state, reason=reason)
        self._tell(replace(source, problems=tuple(problems[:MOST])))

    def _wait(self, found: Found, documents: Sequence[Document], reason: str) -> None:
        lines = self._submit(documents, dry_run=True).lines
        source = replace(self._blank(found), state=State.WAITING, lines=lines)
        self._tell(replace(source, reason=f"it waits for approval: {reason}"))

    def _blank(self, found: Found | None) -> Source:
        if found is None:
            return Source(name=self.name, path=self.path, kind=self._source.kind)
        return Source(
            name=self.name,
            path=self.path,
            kind=found.kind,
            commit=found.commit,
            digest=found.digest,
            notes=found.notes[:MOST],
        )

    def _tell(self, source: Source) -> None:
        """Show it; once for each content and reason, in an event and in the log, too."""
        told = _told(source)
        if told != self._row.told:
            log.warning("%s: %s: %s", self.name, source.state, source.reason)
            row = replace(self._row, path=self.path, told=told)
            self._store.record([row, self._event(source.state, source.reason, self._clock())])
            self._row = row
        self._show(source)

    def _show(self, source: Source) -> None:
        self._source = source
        self._sources.put(source)

    def _event(self, state: State, message: str, now: float) -> Event:
        return Event(
            at=round(now, 3),
            kind=SOURCE_KIND,
            name=self.name,
            uid="",
            reason=WORDS[state],
            message=message,
        )


def _summary(found: Found, changed: int) -> str:
    what = f"commit {found.commit}" if found.commit else f"{len(found.files)} files"
    return f"{what} in force: {changed} object{'' if changed == 1 else 's'} changed"


def _told(source: Source) -> str:
    parts = (source.state, source.digest, source.reason, *map(str, source.problems))
    return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _owned(snapshot: Snapshot, name: str) -> dict[Key, Manifest]:
    return {
        key: item.manifest
        for key, item in snapshot.objects.items()
        if item.source == name and not item.deleting
    }
