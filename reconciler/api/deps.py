"""What the handlers work with, and the bounds on how many may wait, upload or download at once."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from reconciler.api.audit import Refusals
from reconciler.api.auth import Tokens
from reconciler.api.http import ApiError
from reconciler.cluster import Cluster
from reconciler.images import Library
from reconciler.sources import Sources
from reconciler.submit import Desk

LARGE = 1 << 20


class Slots:
    """A bounded number of places; who finds none is told to come back."""

    def __init__(self, count: int, what: str) -> None:
        self._free = threading.BoundedSemaphore(count)
        self._what = what

    @contextmanager
    def take(self) -> Iterator[None]:
        if not self._free.acquire(blocking=False):
            message = f"too many {self._what} at once; try again"
            raise ApiError(429, "too_many_requests", message, headers={"Retry-After": "2"})
        try:
            yield
        finally:
            self._free.release()


@dataclass(slots=True, kw_only=True)
class Deps:
    """`closing` ends all waiting, so that the server can stop."""

    cluster: Cluster
    desk: Desk
    library: Library
    tokens: Tokens
    sources: Sources
    clock: Callable[[], float] = time.time
    refusals: Refusals = field(init=False)
    waiters: Slots = field(default_factory=lambda: Slots(24, "waiting requests"))
    uploads: Slots = field(default_factory=lambda: Slots(4, "uploads"))
    downloads: Slots = field(default_factory=lambda: Slots(24, "downloads"))
    submissions: Slots = field(default_factory=lambda: Slots(16, "submissions"))
    large_submissions: Slots = field(default_factory=lambda: Slots(2, "large submissions"))
    """Of more than LARGE bytes: what one of these becomes in memory can be half a GiB."""
    closing: bool = False

    def __post_init__(self) -> None:
        self.refusals = Refusals(self.cluster.store, self.clock)

    def places(self, size: int) -> Slots:
        """For a submission of so many bytes."""
        return self.large_submissions if size > LARGE else self.submissions

    def close(self) -> None:
        self.closing = True
        self.cluster.signal.bump()
