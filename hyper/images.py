"""The agent's cache of images: a directory of files, each named by the SHA-256 of its bytes.

A file with a digest for its name is complete and checked; with `.part` behind it, it is what came so
far; cards (hyper.cards) tell what the engines have of it. Not here: the download itself, what an engine makes of the bytes, nor which images go.
"""

import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hyper.cards import Card, Cards
from hyper.core.model import Stock
from hyper.core.room import Lack, Room, footprint, lack, no_room
from hyper.download import Download, ImageError, Source
from manifests.durable import sync_directory
from manifests.kinds.image import ImageFormat, MachineType
from manifests.scalars import Sha256
from manifests.wire import ImageRef

GIB = 1 << 30
LARGEST = 20 * GIB
"""Bytes of a cache that nobody gave a limit, or half of its disk where that is less."""
RESERVE, RESERVED_PART = 1 * GIB, 20
"""Bytes of the disk that stay free, or this part of the disk where that is less."""
NEWS, NEWS_PART = 1.0, 20
"""Progress is told when so many seconds have gone by, and this part of the image has come."""
UNFINISHED = ".part"

Tell = Callable[[str, int], None]
"""Gets a digest, and how many bytes of it are here."""


class NoRoom(ImageError):
    def __init__(self, image: ImageRef, why: Lack) -> None:
        super().__init__(no_room(image, why))
        self.lack = why


@dataclass(frozen=True, slots=True)
class Flight:
    """A download under way, for all who wait for it."""

    image: ImageRef
    landing: "Future[Path]" = field(default_factory=Future)


class ImageCache:
    def __init__(self, directory: Path, limit: int | None = None) -> None:
        """Only one cache may use `directory` at a time. `limit` is in bytes."""
        self.closing = threading.Event()
        """Once set, downloads end with an error: whoever waits for one need not wait longer."""
        self.tell: Tell = lambda sha256, done: None
        """Called from the threads of downloads, seldom enough for a report each time."""
        self._directory = directory
        self._cards = Cards(directory)
        self._lock = threading.Lock()
        self._flights: dict[Sha256, Flight] = {}
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        directory.chmod(0o711)  # qemu passes through; nobody lists what is here
        size = shutil.disk_usage(directory).total
        self._limit = min(LARGEST, size // 2) if limit is None else limit
        self._reserve = min(RESERVE, size // RESERVED_PART)
        self._adopt()

    def path(self, image: ImageRef) -> Path | None:
        """The file of an image that is here."""
        path = self._directory / image.sha256
        try:
            return path if path.stat().st_size == image.size else None
        except FileNotFoundError:
            return None

    def note(self, type_: MachineType, image: ImageRef) -> None:
        """The engine is about to have something of the image. Raises ImageError."""
        with self._lock:
            if self._cards.get(type_, image.sha256) is None:
                self._write(Card(type=type_, image=image))

    def fetch(self, image: ImageRef, source: Source) -> Path:
        """The file of an image that was noted, downloaded unless it is here. Raises ImageError, NoRoom.

        What came before a download broke off is kept for the next one. Whoever asks for an image
        that is being downloaded gets the outcome of that download.
        """
        if (path := self.path(image)) is not None:
            return path
        with self._lock:
            flight = self._flights.get(image.sha256)
            if mine := flight is None:
                self._admit(image)
                flight = self._flights[image.sha256] = Flight(image)
        if not mine:
            return flight.landing.result()
        try:
            # Another flight may have landed between our look and our take-off.
            path = self.path(image) or self._download(image, source)
        except BaseException as error:
            self._land(image)
            flight.landing.set_exception(error)
            flight.landing.exception()
            raise
        self._land(image)
        flight.landing.set_result(path)
        return path

    def hold(self, type_: MachineType, image: ImageRef, engine: int) -> None:
        """The engine has prepared the image, and keeps so many bytes of it. Raises ImageError."""
        with self._lock:
            self._write(Card(type=type_, image=image, engine=engine, ready=True))

    def drop(self, type_: MachineType, image: ImageRef) -> None:
        """The engine has nothing of an image any more; its bytes go with the last that had. Gone
        already is fine."""
        self._cards.remove(type_, image.sha256)
        if not any(self._cards.of(image.sha256)):
            for path in (self._part(image.sha256), self._directory / image.sha256):
                path.unlink(missing_ok=True)

    # -- what is here

    def stock(self) -> tuple[Stock, ...]:
        """Every image that is here, whole or not, the least recently prepared first."""
        return tuple(self._stock(card) for card in self._cards.all())

    def stock_of(self, type_: MachineType, image: ImageRef) -> Stock | None:
        card = self._cards.get(type_, image.sha256)
        return self._stock(card) if card is not None else None

    def short(self) -> int:
        """Bytes that have to go, so that the cache keeps its limit and the disk its reserve."""
        try:
            return self._room().short
        except OSError:  # the directory is gone: then nothing is too large
            return 0

    def _stock(self, card: Card) -> Stock:
        ready = card.ready and (
            card.image.format is ImageFormat.REGISTRY or self.path(card.image) is not None
        )
        held = card.engine + self._here(card.image.sha256)
        return Stock(type=card.type, image=card.image, held=held, ready=ready)

    def _here(self, sha256: str) -> int:
        """Bytes of it in the directory."""
        for path in (self._directory / sha256, self._part(sha256)):
            with suppress(FileNotFoundError):
                return path.stat().st_size
        return 0

    def _room(self) -> Room:
        coming = disk = 0
        for flight in self._flights.values():
            here = self._here(flight.image.sha256)
            coming += max(footprint(flight.image) - here, 0)
            disk += max(flight.image.size - here, 0)
        return Room(
            limit=self._limit,
            held=sum(it.held for it in self.stock()) + coming,
            disk=shutil.disk_usage(self._directory).free - self._reserve - disk,
        )

    def _admit(self, image: ImageRef) -> None:
        try:
            why = lack(self._room(), image, self._here(image.sha256))
        except OSError as error:
            raise _not_kept(image, error) from None
        if why is not None:
            raise NoRoom(image, why)

    # -- downloads

    def _land(self, image: ImageRef) -> None:
        with self._lock:
            del self._flights[image.sha256]

    def _download(self, image: ImageRef, source: Source) -> Path:
        target, part = self._directory / image.sha256, self._part(image.sha256)
        Download(
            image=image,
            part=part,
            source=source,
            closing=self.closing,
            tell=_Pace(image, self.tell),
        ).run()
        try:
            os.replace(part, target)
            sync_directory(self._directory)
        except OSError as error:
            raise _not_kept(image, error) from None
        return target

    def _part(self, sha256: str) -> Path:
        """What has come of an image so far, also before the agent was started."""
        return self._directory / f"{sha256}{UNFINISHED}"

    def _write(self, card: Card) -> None:
        try:
            self._cards.write(card)
        except OSError as error:
            raise _not_kept(card.image, error) from None

    def _adopt(self) -> None:
        """What no card tells of: bytes may be what a VM's disk rests on, so they get one."""
        self._cards.tidy()
        known = {card.image.sha256 for card in self._cards.all()}
        for path in self._directory.iterdir():
            found = re.fullmatch(rf"([0-9a-f]{{64}})({re.escape(UNFINISHED)})?", path.name)
            if found is None or found[1] in known:
                continue
            if found[2]:
                path.unlink(missing_ok=True)
            else:
                size = path.stat().st_size
                image = ImageRef(sha256=Sha256(found[1]), format=ImageFormat.RAW, size=size)
                self._write(Card(type=MachineType.LIBVIRT, image=image))


class _Pace:
    """Lets through what is worth telling of a download."""

    def __init__(self, image: ImageRef, tell: Tell) -> None:
        self._image, self._tell = image, tell
        self._at, self._done = time.monotonic(), 0

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._at >= NEWS and (done - self._done) * NEWS_PART >= self._image.size:
            self._at, self._done = now, done
            self._tell(self._image.sha256, done)


def _not_kept(image: ImageRef, error: OSError) -> ImageError:
    return ImageError(f"image {image.sha256[:12]} cannot be kept: {error.strerror}")
