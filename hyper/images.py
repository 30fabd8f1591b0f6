"""The agent's cache of images: a directory of files, each named by the SHA-256 of its bytes.

Here: fetching bytes from the controller, verified to the last one before they get their name. A file
with a digest for its name is complete and checked; all else in the directory is nobody's. Not here:
what an engine makes of the bytes, nor which images are still needed.
"""

import hashlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Collection
from concurrent.futures import Future
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from manifests.imageformat import FormatError, check
from manifests.scalars import Sha256
from manifests.wire import ImageRef

TIMEOUT = 30.0
"""Seconds to connect, and between two pieces."""
SLOWEST = 64 * 1024
"""Bytes per second below which a download is given up, after the first minute."""
PATIENCE = 60.0
CHUNK = 256 * 1024
UNFINISHED = ".part"


class ImageError(Exception):
    """An image could not be fetched. The message is a sentence for people, without secrets."""


class ImageCache:
    def __init__(self, directory: Path) -> None:
        """Only one cache may use `directory` at a time: what another left unfinished is removed."""
        self.closing = threading.Event()
        """Once set, downloads end with an error: whoever waits for one need not wait longer."""
        self._directory = directory
        self._lock = threading.Lock()
        self._flights: dict[Sha256, Future[Path]] = {}
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        directory.chmod(0o711)  # qemu passes through; nobody lists what is here
        for leftover in directory.glob(f"*{UNFINISHED}"):
            leftover.unlink()

    def path(self, image: ImageRef) -> Path | None:
        """The file of an image that is here."""
        path = self._directory / image.sha256
        try:
            return path if path.stat().st_size == image.size else None
        except FileNotFoundError:
            return None

    def fetch(self, image: ImageRef, url: str, token: str) -> Path:
        """The file of an image, downloaded from `url`/SHA256 unless it is here; raises ImageError.

        Whoever asks for an image that is being downloaded gets the outcome of that download.
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
        (self._directory / image.sha256).unlink(missing_ok=True)

    def keep(self, digests: Collection[str]) -> list[Sha256]:
        """Remove every image whose digest is not in `digests`; the digests removed."""
        removed = []
        for path in sorted(self._directory.iterdir()):
            if re.fullmatch("[0-9a-f]{64}", path.name) and path.name not in digests:
                path.unlink(missing_ok=True)
                removed.append(Sha256(path.name))
        return removed

    def _land(self, image: ImageRef) -> None:
        with self._lock:
            del self._flights[image.sha256]

    def _download(self, image: ImageRef, url: str, token: str) -> Path:
        target = self._directory / image.sha256
        short = image.sha256[:12]
        try:
            handle, name = tempfile.mkstemp(UNFINISHED, ".", self._directory)
            try:
                with os.fdopen(handle, "w+b") as file:
                    with _get(f"{url}/{image.sha256}", token) as response:
                        _copy(response, file, image, self.closing)
                    check(image.format, file, image.size)
                    os.fsync(file.fileno())
                os.replace(name, target)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(name)
                raise
            _sync_directory(self._directory)
        except ImageError as error:
            raise ImageError(f"image {short} cannot be fetched: {error}") from None
        except FormatError as error:
            raise ImageError(f"image {short}, declared as {image.format}, {error}") from None
        except HTTPError as error:
            with error:
                raise ImageError(
                    f"image {short} cannot be fetched: the controller answers {error.code}"
                ) from None
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise ImageError(f"image {short} cannot be fetched: {reason}") from None
        return target


def _copy(
    response: HTTPResponse, file: IO[bytes], image: ImageRef, closing: threading.Event
) -> None:
    """All of the body, if it is the image."""
    announced = response.headers.get("Content-Length")
    if announced is not None and announced != str(image.size):
        raise ImageError(f"it has {announced} bytes instead of {image.size}")
    digest = hashlib.sha256()
    size = 0
    deadline = time.monotonic() + PATIENCE + image.size / SLOWEST
    while data := response.read1(CHUNK):
        if closing.is_set():
            raise ImageError("the agent is ending")
        size += len(data)
        if size > image.size:
            raise ImageError(f"it has more than {image.size} bytes")
        if time.monotonic() > deadline:
            raise ImageError("it comes too slowly")
        digest.update(data)
        file.write(data)
    if size != image.size:
        raise ImageError(f"it has {size} bytes instead of {image.size}")
    if digest.hexdigest() != image.sha256:
        raise ImageError("its bytes have another digest")
    file.flush()


class _NoRedirect(HTTPRedirectHandler):
    """The token is for one address only."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = build_opener(ProxyHandler({}), _NoRedirect)


def _get(url: str, token: str) -> HTTPResponse:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ImageError("its address is not http://host:port/path")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ImageError("token over plain http only to loopback")
    request = Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    response: HTTPResponse = _OPENER.open(request, timeout=TIMEOUT)
    if response.status != 200:
        response.close()
        raise ImageError(f"the controller answers {response.status}")
    return response


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
