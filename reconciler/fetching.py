"""Fetching images by URL in the background: which bytes are missing, and what becomes of each.

One job per digest, a few at once. What fails is tried again later and later, and at once when an
object that names it changes, or when the bytes come in another way. Not here: how bytes are fetched
and kept (`images`), and what waits for them (`core`).
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

from manifests.imageformat import FormatError
from manifests.imageformat import check as check_format
from manifests.scalars import HttpsUrl, Sha256
from reconciler.cluster import Cluster
from reconciler.core.desired import Change
from reconciler.core.events import Event
from reconciler.core.model import Fetch, FetchState, Object, Snapshot
from reconciler.images import BadBytes, ImageError, InUse, Library
from reconciler.images.fetch import Progress, fetch
from reconciler.images.https import FetchError, Https
from reconciler.store import Stale, StoreFull

log = logging.getLogger("reconciler")

AT_ONCE = 4
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 900.0
WRONG_PAUSE = 3600.0
"""Seconds before wrong bytes are fetched once more."""
SAY_SECONDS = 2.0
"""Between two words on how far it is: each wakes everybody who waits for news."""
LOST = Fetch(FetchState.FAILED, "its bytes are gone from the image directory; hand them in again")
QUEUED = Fetch(FetchState.FETCHING, "waits for other downloads")

Job = tuple[tuple[str, int], ...]
"""(uid, generation) of the images that want the same bytes: another job when one of them changes."""


class Fetcher:
    def __init__(
        self,
        cluster: Cluster,
        library: Library,
        https: Https,
        clock: Callable[[], float],
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        """`clock` gives epoch seconds, for events."""
        self._cluster = cluster
        self._library = library
        self._https = https
        self._clock = clock
        self._first_pause = first_pause
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._jobs: dict[Sha256, tuple[Job, asyncio.Task[None]]] = {}
        self._hurry: dict[Sha256, asyncio.Event] = {}
        self._lost: list[Sha256] = []
        self._said: dict[str, Fetch] = {}
        self._failures: dict[str, str] = {}
        """What was written down last, of images that are missing."""

    async def run(self) -> None:
        """Fetch whatever is missing, until cancelled."""
        loop, wake = asyncio.get_running_loop(), asyncio.Event()
        self._cluster.signal.subscribe(lambda: loop.call_soon_threadsafe(wake.set))
        known: object = None
        try:
            while True:
                wake.clear()
                try:
                    known = self._look_again(known)
                except Exception:  # a disk that fails ends no controller
                    known = None
                    log.exception("the images that are missing could not be found out")
                    await asyncio.sleep(self._first_pause)
                    continue
                await wake.wait()
        finally:
            tasks = [task for _, task in self._jobs.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _look_again(self, known: object) -> object:
        """At all images where the objects are others than the known ones; which they are now."""
        snapshot = self._cluster.snapshot()
        if known is not snapshot.objects or any(map(self._library.has, self._lost)):
            self._look(snapshot)
        for sha256, hurry in self._hurry.items():
            if self._library.has(sha256):
                hurry.set()
        return snapshot.objects

    def _look(self, snapshot: Snapshot) -> None:
        """Start and end jobs, so that there is one for all bytes that are missing."""
        wanted, lost = self._missing(snapshot)
        for sha256, (job, task) in list(self._jobs.items()):
            if _job(wanted.get(sha256, ())) != job:
                task.cancel()
                del self._jobs[sha256]
        missing = {item.uid for items in wanted.values() for item in items}
        self._said = {uid: said for uid, said in self._said.items() if uid in missing}
        self._failures = {uid: why for uid, why in self._failures.items() if uid in missing}
        self._said |= {item.uid: LOST for item in lost}
        self._lost = [item.image.sha256 for item in lost if item.image.sha256]
        for sha256, items in wanted.items():
            if sha256 not in self._jobs:
                self._said |= {item.uid: QUEUED for item in items}
                self._jobs[sha256] = _job(items), asyncio.ensure_future(self._have(sha256, items))
        self._cluster.tell_fetches(self._said)

    def _missing(self, snapshot: Snapshot) -> tuple[dict[Sha256, list[Object]], list[Object]]:
        """(images to be fetched, by their bytes; images whose bytes nobody but a user has)"""
        wanted: dict[Sha256, list[Object]] = {}
        lost = []
        for item in snapshot.of_kind("Image"):
            sha256 = item.image.sha256
            if item.deleting or sha256 is None:
                continue
            here = self._library.has(sha256)
            if item.image.url is None:
                lost += [] if here else [item]
            elif not here or not item.size:
                wanted.setdefault(sha256, []).append(item)
        return wanted, lost

    def _say(self, items: Iterable[Object], said: Fetch | None) -> None:
        """What is true of them now; None: nothing is missing."""
        for item in items:
            if said is None:
                self._said.pop(item.uid, None)
            else:
                self._said[item.uid] = said
        self._cluster.tell_fetches(self._said)

    async def _have(self, sha256: Sha256, items: list[Object]) -> None:
        """Get the bytes here, and say so."""
        hurry = self._hurry[sha256] = asyncio.Event()
        pause = self._first_pause
        try:
            for attempt in itertools.count():
                url = items[attempt % len(items)].image.url
                assert url is not None
                if not (wait := await self._try(sha256, items, url, pause)):
                    return
                hurry.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(hurry.wait(), wait)
                pause = min(LONGEST_PAUSE, 2 * pause)
        except Exception:
            log.exception("fetching %s ended; it goes on when the image changes", sha256)
            self._say(items, Fetch(FetchState.FAILED, "a defect of the server; see its log"))
        finally:
            if self._hurry.get(sha256) is hurry:
                del self._hurry[sha256]

    async def _try(self, sha256: Sha256, items: list[Object], url: HttpsUrl, pause: float) -> float:
        """The pause after which to try again; 0 when there is nothing more to do."""
        try:
            if not self._library.touch(sha256):
                async with self._slots:
                    log.info("fetching %s", url.shown)
                    await fetch(self._https, self._library, url, sha256, self._progress(items))
            await self._enter(sha256, url)
            return 0
        except InUse:
            self._say(items, Fetch(FetchState.FETCHING, "an upload of it is under way"))
            return self._first_pause
        except (FetchError, ImageError, StoreFull, OSError) as error:
            log.warning("%s could not be fetched: %s", url.shown, error)
            await self._fail(items, str(error))
            return WRONG_PAUSE if isinstance(error, BadBytes) else pause

    def _progress(self, items: list[Object]) -> Progress:
        self._say(items, Fetch(FetchState.FETCHING))
        clock = asyncio.get_running_loop().time
        said = clock()

        def progress(here: int, total: int | None) -> None:
            nonlocal said
            if clock() > said + SAY_SECONDS:
                said = clock()
                far = f"{100 * here // total} %" if total else f"{here >> 20} MiB so far"
                self._say(items, Fetch(FetchState.FETCHING, far))

        return progress

    async def _enter(self, sha256: Sha256, url: HttpsUrl) -> None:
        """The bytes are here: from now on the objects say so. Raises StoreError."""
        size = self._library.size(sha256)
        while True:
            snapshot = self._cluster.snapshot()
            found = [item for item in snapshot.of_kind("Image") if item.image.sha256 == sha256]
            wrong = {item.uid: self._unfit(item, size) for item in found}
            good = [item for item in found if not wrong[item.uid]]
            try:
                await asyncio.to_thread(self._store, snapshot.revision, good, size, url)
                break
            except Stale:
                continue
        self._say(good, None)
        for item in found:
            if wrong[item.uid]:
                await self._fail([item], wrong[item.uid])

    def _store(self, revision: int, items: list[Object], size: int, url: HttpsUrl) -> None:
        new = [item for item in items if not item.size]
        self._cluster.store.submit(
            [Change(key=item.key, before=item, after=replace(item, size=size)) for item in new],
            revision=revision,
            also=[self._event(item, "Fetched", f"{size} bytes from {url.shown}") for item in new],
        )
        self._cluster.signal.bump()

    def _unfit(self, item: Object, size: int) -> str:
        try:
            with self._library.open(item.image.sha256 or "") as file:
                check_format(item.image.resolved_format, file, size)
        except FormatError as error:
            return f"what was fetched {error}"
        return ""

    async def _fail(self, items: list[Object], reason: str) -> None:
        failed = Fetch(FetchState.FAILED, reason)
        new = [item for item in items if self._failures.get(item.uid) != reason]
        self._failures |= {item.uid: reason for item in items}
        self._say(items, failed)
        events = [self._event(item, "FetchFailed", reason) for item in new]
        await asyncio.to_thread(self._cluster.store.record, events)

    def _event(self, item: Object, reason: str, message: str) -> Event:
        return Event(
            at=round(self._clock(), 3),
            kind="Image",
            name=item.name,
            uid=item.uid,
            reason=reason,
            message=message,
        )


def _job(items: Iterable[Object]) -> Job:
    return tuple((item.uid, item.generation) for item in items)
