"""One watched directory: look, and hand in what is there if it is another than before.

What is there is applied whole, or refused whole with the last good one staying in force. Whatever is
not known for certain (an empty directory, an unreadable file, a repository in the middle of a
rebase) removes nothing.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.kinds import Manifest
from manifests.load import Document
from reconciler.core.explain import PlanLine
from reconciler.core.model import Key, Object, Snapshot
from reconciler.core.preview import Outcome
from reconciler.core.sources import State
from reconciler.images import ImageError
from reconciler.sources import Sources
from reconciler.store import StoreError
from reconciler.submit import Also, Braked, Conflicts, Desk, Invalid, Refused, nothing
from reconciler.watch import git, imagefiles, plain
from reconciler.watch.bell import Bell
from reconciler.watch.found import PLAIN, Found, Paused, Stopped, Unreadable
from reconciler.watch.imagefiles import Identity
from reconciler.watch.loading import collisions, load, located
from reconciler.watch.pacing import Again
from reconciler.watch.range import range_of
from reconciler.watch.telling import Teller

log = logging.getLogger("reconciler.watch")

HANGS = 3
"""So often the bell is hung anew when directories are replaced while it is hung."""


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
        self._path = path
        self._desk = desk
        self._sources = sources
        self._stopping = stopping
        self._bell = Bell(ring)
        self._teller = Teller(name, path, store=desk.cluster.store, sources=sources, clock=clock)
        self._deaf = ""
        self._tried = ""
        self._names: frozenset[str] = frozenset()
        self._images: dict[str, Identity | None] = {}
        self._doubted = ""
        self._objects: Mapping[Key, Object] | None = None
        self._mine: dict[Key, Manifest] = {}

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
            return self._idle(None, State.PAUSED, str(error))
        except Unreadable as error:
            return self._idle(None, State.UNREADABLE, str(error))
        if not found.files and not found.problems:
            reason = found.empty or "there are no manifests in it"
            return self._idle(found, State.EMPTY, f"{reason}; nothing is removed for that")
        return self._consider(found, tries)

    def _read(self) -> Found:
        for _ in range(HANGS):
            place = git.find(self._path)
            range_ = range_of(self._path, place, self._images)
            self._hear(self._bell.hang(range_))
            if range_of(self._path, git.find(self._path)).directories == range_.directories:
                break
        if place is None:
            return plain.read(self._path, self._stopping)
        return git.read(place, self._stopping)

    def _hear(self, deaf: str) -> None:
        if deaf and deaf != self._deaf:
            log.warning("%s: %s; it is looked at every minute instead", self.name, deaf)
        self._deaf = deaf

    def _idle(self, found: Found | None, state: State, reason: str) -> Look:
        """There is nothing to apply."""
        self._tried = self._doubted = ""
        self._objects = None
        self._teller.tell(found, state, reason)
        return Look(again=Again.LATER if state is State.UNREADABLE else Again.NO)

    def _consider(self, found: Found, tries: bool) -> Look:
        content = f"{found.digest} {found.commit}"
        new = content != self._tried or imagefiles.identities(self._images) != self._images
        approved = self._sources.approved(self.name, found.digest)
        if not (new or tries or approved or self.drifted(self._desk.cluster.snapshot())):
            return Look()
        if self._is_doubtful(found, content):
            return Look(again=Again.SOON, new=True)
        self._names = frozenset(name for name, _ in found.files)
        again = self._apply(found, approved)
        self._tried = "" if again is Again.SOON else content
        return Look(again=again, new=new)

    def _is_doubtful(self, found: Found, content: str) -> bool:
        """Whether files are missing that may be back in a moment: editors and copies do that. Seen
        twice, it is meant. A commit always is."""
        missing = self._names - {name for name, _ in found.files}
        if found.kind == PLAIN and missing and self._doubted != content:
            self._doubted = content
            return True
        self._doubted = ""
        return False

    def _apply(self, found: Found, approve: bool) -> Again:
        self._images.clear()  # one dict for ever: the bell listens for what is in it
        documents, problems = load(found)
        if problems:
            self._teller.faulty(found, State.BROKEN, problems)
            return Again.NO
        self._images |= imagefiles.identities(imagefiles.unpinned(documents, self._root))
        if imagefiles.being_written(self._images):
            return Again.SOON
        try:
            return self._hand_in(found, documents, approve)
        except Invalid as error:
            self._teller.faulty(found, State.BROKEN, located(documents, error.faults))
            return Again.LATER  # bytes of images may come
        except Conflicts as error:
            self._teller.faulty(found, State.CONFLICT, collisions(documents, error.conflicts))
            return Again.WHEN_CHANGED
        except Braked as error:
            self._teller.waiting(found, str(error), self._lines(documents))
            return Again.WHEN_CHANGED
        except (Refused, ImageError, StoreError) as error:
            log.warning("%s: %s; it is tried again", self.name, error)
            reason = f"{error}; it is tried again"
            self._teller.tell(found, State.CONFLICT, reason, once=False)
            return Again.LATER

    def _lines(self, documents: Sequence[Document]) -> tuple[PlanLine, ...]:
        """What it would do; () where that cannot be told any more, for the cluster has changed."""
        try:
            return self._submit(documents, dry_run=True).lines
        except (Refused, ImageError):
            return ()

    @property
    def _root(self) -> str:
        return os.path.realpath(self._path)

    def _hand_in(self, found: Found, documents: Sequence[Document], approve: bool) -> Again:
        outcome = self._submit(
            documents,
            approve=approve,
            also=lambda changed: self._teller.in_force(found, changed),
        )
        snapshot = self._desk.cluster.snapshot()
        self._objects, self._mine = snapshot.objects, _owned(snapshot, self.name)
        self._sources.spent(self.name)
        self._teller.applied(found, outcome.changed)
        # One that is missing by now was deleted in between, of which nobody tells again.
        return Again.NO if len(self._mine) == len(documents) else Again.SOON

    def _submit(
        self,
        documents: Sequence[Document],
        *,
        approve: bool = False,
        dry_run: bool = False,
        also: Also = nothing,
    ) -> Outcome:
        return self._desk.apply(
            imagefiles.with_paths(documents, self._root),
            source=self.name,
            prune=True,
            approve=approve,
            dry_run=dry_run,
            image_sources=[Path(self._root)],
            also=also,
        )


def _owned(snapshot: Snapshot, name: str) -> dict[Key, Manifest]:
    return {
        key: item.manifest
        for key, item in snapshot.objects.items()
        if item.source == name and not item.deleting
    }
