"""The board on which the watcher writes what it sees in the watched directories, and on which people
find it; and where they leave their approval. Not here: reading directories (`watch`).
"""

import threading
from collections.abc import Callable

from reconciler.cluster import Cluster
from reconciler.core.access import Actor
from reconciler.core.audit import entry_of, name_of
from reconciler.core.sources import Applied, Source, State


class NotWaiting(Exception):
    """There is nothing to approve, or not what was named. A sentence for people."""


class Sources:
    def __init__(self, cluster: Cluster, clock: Callable[[], float]) -> None:
        """`clock` gives epoch seconds, for the audit."""
        self._cluster = cluster
        self._clock = clock
        self._sources: dict[str, Source] = {}
        self._approved: dict[str, str] = {}
        self._lock = threading.Lock()
        self._listener: Callable[[str], None] = lambda name: None

    def put(self, source: Source) -> None:
        """What is seen of a source now; whoever waits for news is woken where it is news."""
        with self._lock:
            if self._sources.get(source.name) == source:
                return
            self._sources[source.name] = source
        self._cluster.signal.bump()

    def all(self) -> list[tuple[Source, Applied]]:
        """Every watched directory, and those no longer watched of which objects are left; by name."""
        applied = self._cluster.store.sources()
        found = dict(self._sources)
        left = {item.source for item in self._cluster.store.snapshot().objects.values()}
        for name, row in applied.items():
            if name not in found and name in left:
                found[name] = Source(
                    name=name, path=row.path, state=State.UNWATCHED, reason=UNWATCHED
                )
        return [
            (source, applied.get(name) or Applied(name=name, path=source.path))
            for name, source in sorted(found.items())
        ]

    def on_approval(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the name of a source whose content was approved; it must not block."""
        self._listener = listener

    def approve(self, name: str, content: str, by: Actor) -> None:
        """Let through what waits in a source; `content` is its digest or commit, so that only what
        was seen is approved. In the audit before it has any effect. Raises NotWaiting, StoreError.
        """
        source = self._sources.get(name)
        if source is None or source.state is not State.WAITING:
            raise NotWaiting(f"nothing of {name} waits for approval")
        if content not in (source.digest, source.commit):
            now = source.commit or source.digest
            raise NotWaiting(f"what waits in {name} now is another content: {now}")
        entry = entry_of(
            by,
            "approve",
            self._clock(),
            objects=[name_of("source", name)],
            message=f"content {source.digest}",
        )
        self._cluster.store.record([entry])
        with self._lock:
            self._approved[name] = source.digest
        self._listener(name)

    def approved(self, name: str, digest: str) -> bool:
        """Whether exactly this content was approved; the approval of any other is void now."""
        with self._lock:
            if self._approved.get(name) != digest:
                self._approved.pop(name, None)
                return False
            return True

    def spent(self, name: str) -> None:
        """What was approved is in force."""
        with self._lock:
            self._approved.pop(name, None)


UNWATCHED = "no longer watched; its objects stay as they are until they are deleted"
