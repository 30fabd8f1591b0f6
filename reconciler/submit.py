"""The desk where desired state is handed in: by the API, and by watched directories.

A submission is checked whole, merged whole, shown as a plan, and stored whole or not at all. Not
here: where documents come from, and carrying the plan out.

Refused
├── Invalid      documents that are no manifests, or images whose bytes are not here
├── Conflicts    objects of another owner, in use, or on their way out; unknown ones to delete
├── Gone         the one object that is meant is not there any more
├── Outdated     it is not as the client saw it
├── Forbidden    objects that whoever asks may not change, or an approval that is not theirs to give
├── Braked       it would stop more running machines than is done without asking
└── Busy         others keep coming first; try again
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from manifests.codec import Json
from manifests.kinds import Manifest
from manifests.problem import Fault
from manifests.scalars import Uid
from manifests.validate import MOST_OF_SET, parse_set
from reconciler.cluster import Cluster
from reconciler.core.access import Actor, forbidden, program
from reconciler.core.audit import entry_of_changes
from reconciler.core.conflicts import Conflict
from reconciler.core.desired import Change, Merge, merge
from reconciler.core.desired import delete as merge_deletions
from reconciler.core.events import events_of_changes
from reconciler.core.model import Key, Snapshot
from reconciler.core.preview import Outcome, preview
from reconciler.images import Library
from reconciler.intake import Intake
from reconciler.store import KeyUse, Record, Stale

T = TypeVar("T")
API = "api"
ATTEMPTS = 20
PATIENCE = 30.0
"""Seconds that a submission waits for the one before it."""


Also = Callable[[int], Sequence[Record]]
"""The records to store with so many changes."""


def nothing(changes: int) -> Sequence[Record]:
    return ()


class Refused(Exception):
    """Nothing was stored. A sentence for people."""


def _count(items: Sequence[object], word: str) -> str:
    return f"{len(items)} {word}{'' if len(items) == 1 else 's'}"


class Invalid(Refused):
    def __init__(self, faults: Sequence[tuple[int, Fault]]) -> None:
        many = len(faults) > MOST_OF_SET
        count = f"more than {MOST_OF_SET} faults" if many else _count(faults, "fault")
        super().__init__(f"{count}; nothing was changed")
        self.faults = tuple(faults)


class Conflicts(Refused):
    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        super().__init__(f"{_count(conflicts, 'conflict')}; nothing was changed")
        self.conflicts = tuple(conflicts)


class Gone(Refused):
    """Somebody else was quicker."""


class Outdated(Refused):
    """Look again, and decide again."""


class Forbidden(Refused):
    """Whoever asks may not."""

    def __init__(self, message: str, objects: Sequence[Conflict] = ()) -> None:
        super().__init__(message)
        self.conflicts = tuple(objects)


def _all_in_one(denied: Sequence[Conflict]) -> str:
    more = f" (and {len(denied) - 1} more)" if len(denied) > 1 else ""
    return denied[0].message + more


class Braked(Refused):
    """`approve` lets it through."""


class Busy(Refused):
    """Nothing is wrong with it."""


class Desk:
    def __init__(
        self,
        cluster: Cluster,
        library: Library,
        *,
        new_uid: Callable[[], Uid],
        clock: Callable[[], float],
        image_sources: Sequence[Path] = (),
    ) -> None:
        """`image_sources`: directories of this host that an Image's `file` may be in."""
        self.cluster = cluster
        self.library = library
        self.new_uid = new_uid
        self.clock = clock
        self._intake = Intake(library, image_sources)
        self._turn = threading.Lock()

    def apply(
        self,
        documents: Sequence[Json],
        *,
        source: str = API,
        prune: bool = False,
        dry_run: bool = False,
        approve: bool = False,
        by: Actor | None = None,
        image_sources: Sequence[Path] = (),
        also: Also = nothing,
    ) -> Outcome:
        """Make `source` own exactly what these documents say of their objects; with `prune`, only them.

        `by`: who asks for it; without, the program itself in the name of `source`. An Image's `file`
        with an absolute path may be in one of `image_sources`, too. `also`: what is stored with it,
        in the same transaction. Raises Refused, StoreError, ImageError.
        """
        parsed, faults = parse_set(documents)
        if faults:
            raise Invalid(faults)
        manifests = self.take_files(parsed, image_sources)

        def merged(snapshot: Snapshot) -> Merge:
            self.check_images(snapshot, manifests)
            return merge(
                snapshot,
                manifests,
                source=source,
                prune=prune,
                new_uid=self.new_uid,
                now=self.clock(),
                sizes=self.library.size,
            )

        return self._submit(merged, source, dry_run, approve, by or program(source), also)

    def delete(
        self,
        keys: Sequence[Key],
        *,
        source: str = API,
        uid: Uid | None = None,
        dry_run: bool = False,
        approve: bool = False,
        by: Actor | None = None,
    ) -> Outcome:
        """Mark objects for deletion, in the name of `source`; with `uid`, only the object that has
        this identity. Raises Refused, StoreError."""
        wanted = tuple(dict.fromkeys(keys))
        return self._submit(
            lambda snapshot: merge_deletions(snapshot, wanted, source=source, uid=uid),
            source,
            dry_run,
            approve,
            by or program(source),
        )

    def _submit(
        self,
        merged: Callable[[Snapshot], Merge],
        source: str,
        dry_run: bool,
        approve: bool,
        by: Actor,
        also: Also = nothing,
    ) -> Outcome:
        if approve and not by.approves:
            raise Forbidden("only an admin may approve what the brake holds")

        def store(snapshot: Snapshot, result: Merge) -> Outcome:
            outcome = preview(snapshot, result)
            if dry_run:
                return outcome
            if outcome.brake and not approve:
                raise Braked(outcome.brake)
            records = also(len(result.changes))
            revision = self.write(snapshot.revision, result.changes, source, by, records)
            return replace(outcome, revision=revision, brake="")

        return self.in_turn(merged, store, by)

    def in_turn(
        self,
        merged: Callable[[Snapshot], Merge],
        store: Callable[[Snapshot, Merge], T],
        by: Actor,
    ) -> T:
        """What `store` makes of the merge, both again where the store has moved on meanwhile.

        Raises Refused, StoreError.
        """
        with self._one_at_a_time():
            for _ in range(ATTEMPTS):
                snapshot = self.cluster.snapshot()
                result = merged(snapshot)
                # On what would be changed in the end, not on what was handed in: pruning, too.
                if denied := forbidden(by, result.changes):
                    raise Forbidden(_all_in_one(denied), denied)
                if result.conflicts:
                    raise Conflicts(result.conflicts)
                try:
                    return store(snapshot, result)
                except Stale:
                    continue  # the controller has written meanwhile
        raise Busy("the cluster is changing too fast; try again")

    def write(
        self,
        revision: int,
        changes: Sequence[Change],
        source: str,
        by: Actor,
        also: Sequence[Record] = (),
    ) -> int:
        """The new revision; for no changes only `also` is written. Raises Stale, StoreError."""
        now = self.clock()
        records: list[Record] = [*events_of_changes(changes, now, source), *also]
        if changes:
            records.append(entry_of_changes(by, changes, source, now))
        after = self.cluster.store.submit(changes, revision=revision, also=records)
        if after != revision:
            self.cluster.signal.bump()
        return after

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=PATIENCE):
            raise Busy("too many submissions at once; try again")
        try:
            yield
        finally:
            self._turn.release()

    def tidy(self) -> None:
        """Drop the bytes of images that nothing names any more. Raises Busy, OSError."""
        with self._one_at_a_time():
            snapshot = self.cluster.snapshot()
            needed = {str(item.image.digest) for item in snapshot.of_kind("Image")}
            needed |= {str(placed.wire.image.sha256) for placed in snapshot.placements}
            self.library.keep(needed, now=self.clock())

    def key_use(self, key: str) -> KeyUse | None:
        """What was made with this idempotency key."""
        return self.cluster.store.key_use(key, self.clock())

    def take_files(
        self, manifests: Sequence[Manifest], also: Sequence[Path] = ()
    ) -> list[Manifest]:
        """The manifests, with the bytes of files of this host in the library. It may take minutes, and
        changes nothing yet, so it comes before it is our turn. Raises Invalid, ImageError."""
        taken, faults = self._intake.take(manifests, also)
        if faults:
            raise Invalid(faults)
        return taken

    def check_images(self, snapshot: Snapshot, manifests: Sequence[Manifest]) -> None:
        """Raises Invalid where an image's bytes are not here, or not what it declares."""
        if faults := self._intake.faults(snapshot, manifests):
            raise Invalid(faults)
