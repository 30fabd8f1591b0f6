"""Which images are ready to start from, which are in trouble, which nobody needs any more."""

from collections.abc import Iterable

from hyper.core.backoff import FRESH, History, failed
from hyper.core.steps import Discard, Prepare
from manifests.kinds.image import MachineType
from manifests.wire import ImageRef, Placement

KEPT = 600.0
"""Seconds an image is kept that no machine needs: a change of mind costs no download."""

Key = tuple[MachineType, str]


class Shelf:
    """`_known` is what may be on the node: ready, or in use since before this agent was started."""

    def __init__(self) -> None:
        self._known: dict[Key, ImageRef] = {}
        self._ready: set[Key] = set()
        self._trouble: dict[Key, History] = {}
        self._idle: dict[Key, float] = {}

    def has(self, placement: Placement) -> bool:
        return _key(placement) in self._ready

    def trouble(self, placement: Placement) -> History:
        return self._trouble.get(_key(placement), FRESH)

    def prepared(self, step: Prepare, error: str, now: float) -> None:
        key = (step.type, step.image.sha256)
        if error:
            old = self._trouble.get(key, FRESH)
            self._trouble[key] = failed(old, error=error, uid=key[1], now=now)
        else:
            self._trouble.pop(key, None)
            self._known[key] = step.image
            self._ready.add(key)

    def discarded(self, step: Discard, error: str, now: float) -> None:
        key = (step.type, step.image.sha256)
        self._ready.discard(key)
        if error:
            self._idle[key] = now  # again when it has been idle as long once more
        else:
            self._known.pop(key, None)

    def lost(self, placement: Placement) -> None:
        """The engine no longer has it; prepare it again."""
        self._ready.discard(_key(placement))

    def discards(
        self, needed: Iterable[Placement], now: float
    ) -> tuple[list[Discard], list[float]]:
        """(images to drop now, when the others that nobody needs are due)."""
        used = {_key(placement): placement.image for placement in needed}
        self._known |= used
        self._trouble = {key: old for key, old in self._trouble.items() if key in used}
        self._idle = {key: self._idle.get(key, now) for key in self._known if key not in used}
        due = [key for key, since in self._idle.items() if since + KEPT <= now]
        later = [since + KEPT for since in self._idle.values() if since + KEPT > now]
        return [Discard(type=key[0], image=self._known[key]) for key in due], later


def _key(placement: Placement) -> Key:
    return placement.type, placement.image.sha256
