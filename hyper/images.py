"""The agent's cache of images: a directory of files, each named by the SHA-256 of its bytes.

A file with a digest for its name is complete and checked; with `.part` behind it, it is what came so
far. Not here: the download itself, what an engine makes of the bytes, nor which images are needed.
"""

import os
import re
import threading
from collections.abc import Collection
from concurrent.futures import Future
from pathlib import Path

from hyper.download import Download, ImageError, Source
from manifests.scalars import Sha256
from manifests.wire import ImageRef

UNFINISHED = ".part"


class ImageCache:
    def __init__(self, directory: Path) -> None:
        """Only one cache may use `directory` at a time."""
        self.closing = threading.Event()
        """Once set, downloads end with an error: whoever waits for one need not wait longer."""
        self._directory = directory
        self._lock = threading.Lock()
        self._flights: dict[Sha256, Future[Path]] = {}
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        directory.chmod(0o711)  # qemu passes through; nobody lists what is here

    def path(self, image: ImageRef) -> Path | None:
        """The file of an image that is here."""
        path = self._directory / image.sha256
        try:
            return path if path.stat().st_size == image.size else None
        except FileNotFoundError:
            return None

    def fetch(self, image: ImageRef, url: str, token: str) -> Path:
        """The file of an image, downloaded from `url`/SHA256 unless it is here; raises ImageError.

        What came before a download broke off is kept for the next one. Whoever asks for an image
        that is being downloaded gets the outcome of that download.
        """
        if (path := self.path(image)) is not None:
            return path
        with self._lock:
            flight = self._flights.get(image.sha256)
            if mine := flight is None:
                flight = self._flights[image.sha256] = Future()
        if not mine:
            return flight.result()
        try:
            # Another flight may have landed between our look and our take-off.
            path = self.path(image) or self._download(image, url, token)
        except BaseException as error:
            self._land(image)
            flight.set_exception(error)
            flight.exception()
            raise
        self._land(image)
        flight.set_result(path)
        return path

    def drop(self, image: ImageRef) -> None:
        """Remove an image; gone already is fine."""
        for path in (self._part(image.sha256), self._directory / image.sha256):
            path.unlink(missing_ok=True)

    def keep(self, digests: Collection[str]) -> list[Sha256]:
        """Remove every image whose digest is not in `digests`, whole or not; the digests removed."""
        removed = []
        for path in sorted(self._directory.iterdir()):
            found = re.fullmatch(r"([0-9a-f]{64})(\.part)?", path.name)
            if found and found[1] not in digests:
                path.unlink(missing_ok=True)
                removed.append(Sha256(found[1]))
        return removed

    def _land(self, image: ImageRef) -> None:
        with self._lock:
            del self._flights[image.sha256]

    def _download(self, image: ImageRef, url: str, token: str) -> Path:
        target, part = self._directory / image.sha256, self._part(image.sha256)
        Download(
            image=image,
            part=part,
            source=Source(url, token),
            closing=self.closing,
            tell=lambda done: None,
        ).run()
        try:
            os.replace(part, target)
            _sync_directory(self._directory)
        except OSError as error:
            short = image.sha256[:12]
            raise ImageError(f"image {short} cannot be kept: {error.strerror}") from None
        return target

    def _part(self, sha256: str) -> Path:
        """What has come of an image so far, also before the agent was started."""
        return self._directory / f"{sha256}{UNFINISHED}"


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
