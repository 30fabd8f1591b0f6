"""All watched directories of the program: one task that sleeps until one of them is due."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from reconciler.sources import Sources
from reconciler.store import StoreError
from reconciler.submit import Desk
from reconciler.watch.directory import Directory, Look
from reconciler.watch.pacing import Again, at_once

log = logging.getLogger("reconciler.watch")

PATIENCE = 0.5
"""Seconds that the end waits for a look."""


class Watching:
    def __init__(
        self,
        directories: Mapping[str, str],
        desk: Desk,
        sources: Sources,
        clock: Callable[[], float],
    ) -> None:
        """`directories` are paths by the names of their sources; `clock` gives epoch seconds."""
        self._cluster = desk.cluster
        self._stopping = threading.Event()
        self._news = _News()
        self._revision = 0
        self._objects: object = None
        self._directories = {
            name: Directory(
                name,
                path,
                desk=desk,
                sources=sources,
                clock=clock,
                ring=lambda name=name: self._news.ring(name),  # type: ignore[misc]
                stopping=self._stopping.is_set,
            )
            for name, path in directories.items()
        }
        self._paces = {name: at_once(time.monotonic()) for name in directories}
        sources.on_approval(self._news.ask)
        self._cluster.signal.subscribe(self._news.change)

    async def run(self) -> None:
        """Until cancelled. Without directories there is nothing to do, for ever."""
        loop, wake = asyncio.get_running_loop(), asyncio.Event()
        self._news.wakes(lambda: loop.call_soon_threadsafe(wake.set))
        try:
            while True:
                wake.clear()
                await self._take_news()
                if name := self._most_due():
                    await self._look(name)
                else:
                    await self._sleep(wake)
        finally:
            self._stopping.set()
            for directory in self._directories.values():
                directory.close()

    def _most_due(self) -> str:
        """The name of a directory to look at now, or ""."""
        due = {name: pace.due for name, pace in self._paces.items()}
        name = min(due, key=lambda name: due[name], default="")
        return name if name and due[name] <= time.monotonic() else ""

    async def _sleep(self, wake: asyncio.Event) -> None:
        due = min((pace.due for pace in self._paces.values()), default=None)
        seconds = None if due is None else max(0.0, due - time.monotonic())
        with suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), seconds)

    async def _take_news(self) -> None:
        """What was heard, asked for and changed since."""
        heard, asked, changed = self._news.take()
        now = time.monotonic()
        for name, (first, last) in heard.items():
            self._paces[name] = self._paces[name].heard(first, last)
        for name in asked & self._paces.keys():
            self._paces[name] = self._paces[name].asked(now)
        if changed and self._paces:
            await self._follow_cluster(now)

    async def _follow_cluster(self, now: float) -> None:
        snapshot = self._cluster.store.snapshot()
        if snapshot.revision == self._revision:
            return  # only reports
        self._revision = snapshot.revision
        same, self._objects = self._objects is snapshot.objects, snapshot.objects
        for name, directory in self._directories.items():
            pace = self._paces[name].cluster_changed(now)
            if not same and await asyncio.to_thread(directory.drifted, snapshot):
                log.info("%s: what it put in force was changed; looking again", name)
                pace = pace.asked(now)
            self._paces[name] = pace

    async def _look(self, name: str) -> None:
        now = time.monotonic()
        pace = self._paces[name]
        self._paces[name] = pace.begun(now)
        self._news.forget(name)
        work = _in_thread(lambda: _safely(self._directories[name], pace.tries(now), self._stopping))
        try:
            look = await asyncio.shield(work)
        except asyncio.CancelledError:
            self._stopping.set()
            await asyncio.wait([work], timeout=PATIENCE)
            raise
        self._paces[name] = self._paces[name].looked(time.monotonic(), look.again, new=look.new)


def _safely(directory: Directory, tries: bool, stopping: threading.Event) -> Look:
    try:
        return directory.look(tries=tries)
    except StoreError as error:
        log.warning("%s: %s; it is tried again", directory.name, error)
    except Exception:
        if not stopping.is_set():  # then the store may be closed, for one
            log.exception("%s: the look failed; it is repeated later", directory.name)
    return Look(again=Again.LATER)


def _in_thread(work: Callable[[], Look]) -> asyncio.Future[Look]:
    """In a thread that the end of the program does not wait for: an image file may take minutes to
    read, and whatever is cut short does no harm."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Look] = loop.create_future()

    def done(look: Look) -> None:
        if not future.done():
            future.set_result(look)

    def run() -> None:
        look = work()
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(done, look)

    threading.Thread(target=run, name="watch", daemon=True).start()
    return future


class _News:
    """What other threads tell the task. It is woken once for all that comes until it takes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wake: Callable[[], object] = lambda: None
        self._heard: dict[str, tuple[float, float]] = {}
        self._asked: set[str] = set()
        self._changed = True
        self._told = False

    def wakes(self, wake: Callable[[], object]) -> None:
        self._wake = wake

    def ring(self, name: str) -> None:
        """A directory may have changed. Of a thousand such in a row only the first wakes."""
        now = time.monotonic()
        with self._lock:
            known = name in self._heard
            first, _ = self._heard.get(name, (now, now))
            self._heard[name] = first, now
        if not known:
            self._wake()

    def ask(self, name: str) -> None:
        with self._lock:
            self._asked.add(name)
        self._wake()

    def change(self) -> None:
        """The cluster may have changed."""
        with self._lock:
            known, self._changed = self._changed, True
        if not known:
            self._wake()

    def take(self) -> tuple[dict[str, tuple[float, float]], set[str], bool]:
        """What is new. What was heard stays until `forget`, so that it goes on without waking."""
        with self._lock:
            taken = dict(self._heard), self._asked, self._changed
            self._asked, self._changed = set(), False
        return taken

    def forget(self, name: str) -> None:
        """A look at it begins."""
        with self._lock:
            self._heard.pop(name, None)
