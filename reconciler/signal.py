"""One counter that everything waits on: it grows when desired or observed state changed.

A wake-up says only that something changed; who wakes up looks at the whole state again.
"""

import threading
from collections.abc import Callable


class Signal:
    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._version = 1
        self._listeners: list[Callable[[], object]] = []

    @property
    def version(self) -> int:
        return self._version

    def subscribe(self, listener: Callable[[], object]) -> None:
        """Call `listener` after each bump, in the bumping thread; it must not block."""
        self._listeners.append(listener)

    def bump(self) -> None:
        with self._condition:
            self._version += 1
            self._condition.notify_all()
        for listener in self._listeners:
            listener()

    def wait(self, after: int, timeout: float) -> int:
        """The version, as soon as it is beyond `after` or `timeout` seconds have passed."""
        with self._condition:
            self._condition.wait_for(lambda: self._version > after, timeout)
            return self._version
