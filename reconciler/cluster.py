"""Desired and observed state together: what a snapshot is taken from.

Observed state lives in memory only: after a restart the agents tell it again within milliseconds,
and until then it is unknown, which is the truth.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace

from reconciler.core.model import Fetch, Key, Seen, Snapshot
from reconciler.core.plan import Wait
from reconciler.signal import Signal
from reconciler.store import Store


class Cluster:
    def __init__(self, store: Store, signal: Signal) -> None:
        self.store = store
        self.signal = signal
        self._seen: dict[str, Seen] = {}
        self._fetches: Mapping[str, Fetch] = {}
        self._waits: dict[Key, str] = {}
        self._lock = threading.Lock()

    @property
    def seen(self) -> Mapping[str, Seen]:
        return self._seen

    def snapshot(self) -> Snapshot:
        return replace(
            self.store.snapshot(), seen=self._seen, fetches=self._fetches, waits=self._waits
        )

    def see(self, node: str, seen: Seen | None) -> None:
        """What is known of a node now; None when the node is no longer ours."""
        with self._lock:
            if self._seen.get(node) == seen:
                return
            known = {name: old for name, old in self._seen.items() if name != node}
            self._seen = known if seen is None else known | {node: seen}
        self.signal.bump()

    def tell_fetches(self, fetches: Mapping[str, Fetch]) -> None:
        """Of which images, by uid, the bytes are missing now."""
        if fetches != self._fetches:
            self._fetches = dict(fetches)
            self.signal.bump()

    def explain(self, waits: Iterable[Wait]) -> None:
        """What the last pass could not do yet; shown as the reason of the objects."""
        found = {(wait.kind, str(wait.name)): wait.reason for wait in waits}
        if found != self._waits:
            self._waits = found
            self.signal.bump()
