"""Who is told of a domain's changes: those who wait for it to stop, and the agent.

Here: one thread that comes back after each loss of the connection, and that finds out whether a
domain nobody has heard of is ours. Not here: what a change means.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

import libvirt

from hyper.drivers import DriverError, EngineDown, Notify

RETRY = (0.2, 5.0)
"""Seconds between attempts to reconnect: the first, and at most."""
SETTLE = (2.0, 10.0)
"""Seconds after connecting when everything is to be looked at again: a libvirtd that has just
started finds its VMs one by one, and tells nobody of those that die before it has."""
JOIN_SECONDS = 4.0


class Watch:
    """`is_ours` asks libvirt about a domain, `reconnect` raises EngineDown until it answers."""

    def __init__(self, is_ours: Callable[[str], bool], reconnect: Callable[[], None]) -> None:
        self._is_ours = is_ours
        self._reconnect = reconnect
        self._ours: set[str] = set()
        self._waiting: defaultdict[str, list[threading.Event]] = defaultdict(list)
        self._notify: Notify | None = None
        self._doubtful: SimpleQueue[str | None] = SimpleQueue()
        self._lost = False
        self._closing = threading.Event()
        self._keeper: threading.Thread | None = None

    def know(self, handle: str) -> None:
        """This one is ours: its changes are told without asking."""
        self._ours.add(handle)

    @contextmanager
    def stopping(self, handle: str) -> Iterator[threading.Event]:
        """An event that is set when the domain stops, from now on."""
        stopped = threading.Event()
        self._waiting[handle].append(stopped)
        try:
            yield stopped
        finally:
            self._waiting[handle].remove(stopped)

    def tell(self, handle: str, event: int) -> None:
        """From libvirt's event loop: quick, and without a call to libvirt."""
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            for stopped in tuple(self._waiting.get(handle, ())):
                stopped.set()
        if self._notify is None:
            return
        if handle in self._ours:
            self._notify(handle)
        else:
            self._doubtful.put(handle)
        if event == libvirt.VIR_DOMAIN_EVENT_UNDEFINED:
            self._ours.discard(handle)

    def lost(self) -> None:
        self._lost = True
        self._doubtful.put(None)

    def start(self, notify: Notify) -> None:
        self._notify = notify
        self._keeper = threading.Thread(target=self._keep, name="libvirt-watch", daemon=True)
        self._keeper.start()

    def _keep(self) -> None:
        looks = self._settling()
        while not self._closing.is_set():
            try:
                handle = self._doubtful.get(timeout=_until(looks))
            except Empty:
                looks.pop(0)
                self._all()
                continue
            if self._lost:
                self._come_back()
                looks = self._settling()
            elif handle is not None:
                self._ask(handle)

    def _settling(self) -> list[float]:
        return [time.monotonic() + seconds for seconds in SETTLE]

    def _come_back(self) -> None:
        pause, longest = RETRY
        while self._lost and not self._closing.is_set():
            self._lost = False
            try:
                self._reconnect()
            except EngineDown:
                self._lost = True
                self._closing.wait(pause)
                pause = min(2 * pause, longest)
        self._all()

    def _all(self) -> None:
        if (notify := self._notify) is not None:
            notify(None)

    def _ask(self, handle: str) -> None:
        try:
            ours = self._is_ours(handle)
        except DriverError:  # when it is back, everything is looked at
            return
        if ours and (notify := self._notify) is not None:
            self._ours.add(handle)
            notify(handle)

    def close(self) -> None:
        self._notify = None
        self._closing.set()
        self._doubtful.put(None)
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join(JOIN_SECONDS)


def _until(moments: list[float]) -> float | None:
    return max(0.0, moments[0] - time.monotonic()) if moments else None
