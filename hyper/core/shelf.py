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
    def __init__(self) -> None:
        self._ready: dict[Key, ImageRef] = {}
        self._trouble: dict[Key, History] = {}
        self._idle: dict[Key, float] = {}

    def has(self, placement: Placement) -> bool:
        return (placement.type, placement.image.sha256) in self._ready

    def trouble(self, placement: Placement) -> History:
        return self._trouble.get((placement.type, placement.image.sha256), FRESH)

    def prepared(self, step: Prepare, error: str, now: float) -> None:
        key = (step.type, step.image.sha256)
        if error:
            old = self._trouble.get(key, FRESH)
            self._trouble[key] = failed(old, error=error, uid=key[1], now=now)
        else:
            self._trouble.pop(key, None)
            self._ready[key] = step.image

    def discarded(self, step: Discard) -> None:
        self._ready.pop((step.type, step.image.sha256), None)

    def lost(self, placement: Placement) -> None:
        """The engine no longer has it; prepare it again."""
        self._ready.pop((placement.type, placement.image.sha256), None)

    def discards(
        self, needed: Iterable[Placement], now: float
    ) -> tuple[list[Discard], list[float]]:
        """(images to drop now, when the others that nobody needs are due)."""
        used = {(placement.type, placement.image.sha256) for placement in needed}
        self._idle = {key: self._idle.get(key, now) for key in self._ready if key not in used}
        due = [key for key, since in self._idle.items() if since + KEPT <= now]
        later = [since + KEPT for since in self._idle.values() if since + KEPT > now]
        return [Discard(type=key[0], image=self._ready[key]) for key in due], later
