"""One image over HTTP into one file: verified to the last byte, and resumed where it broke off.

Here: talking to the controller, and when bytes are the image. What came of a broken download stays in
the file, for the next attempt; what cannot become the image does not. Not here: where images are
kept, and who waits for them.
"""

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from manifests.imageformat import FormatError, check
from manifests.wire import ImageRef

TIMEOUT = 30.0
"""Seconds to connect, and between two pieces."""
SLOWEST = 64 * 1024
"""Bytes per second below which a download is given up, after the first minute."""
PATIENCE = 60.0
CHUNK = 256 * 1024
FULL = (errno.ENOSPC, errno.EDQUOT)


class ImageError(Exception):
    """An image could not be fetched. The message is a sentence for people, without secrets."""


class _Useless(Exception):
    """What the file holds will never be the image."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where images are had: GET `url`/SHA256 with the bearer `token`."""

    url: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """One image on its way into `part`. `tell` gets the number of bytes that are there, often."""

    image: ImageRef
    part: Path
    source: Source
    closing: threading.Event
    tell: Callable[[int], None]

    def run(self) -> None:
        """`part` is the image then, on the disk. Raises ImageError."""
        try:
            self._run()
        except BaseException as error:
            if isinstance(error, _Useless | FormatError) or self._worthless(error):
                self.part.unlink(missing_ok=True)
            raise self._told(error) from None

    def _worthless(self, error: BaseException) -> bool:
        """Nothing came; or the disk is full, and others need the room."""
        full = isinstance(error, OSError) and error.errno in FULL
        with suppress(FileNotFoundError):
            return full or self.part.stat().st_size == 0
        return False

    def _told(self, error: BaseException) -> BaseException:
        short = self.image.sha256[:12]
        match error:
            case FormatError():
                return ImageError(f"image {short}, declared as {self.image.format}, {error}")
            case HTTPError():
                error.close()
                why: object = f"the controller answers {error.code}"
            case ImageError() | _Useless():
                why = error
            case URLError():
                why = error.reason
            case OSError() | HTTPException() | ValueError():
                why = error
            case _:
                return error
        return ImageError(f"image {short} cannot be fetched: {why}")

    def _run(self) -> None:
        handle = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "r+b") as file:
            kept = file.seek(0, os.SEEK_END)
            try:
                self._fill(file, kept)
            except _Useless:
                if not kept:
                    raise
                self._fill(file, 0)  # perhaps it was what an earlier attempt left
            check(self.image.format, file, self.image.size)
            os.fsync(file.fileno())

    def _fill(self, file: IO[bytes], kept: int) -> None:
        """The rest of the image behind the first `kept` bytes of the file."""
        file.seek(0)
        file.truncate(kept)
        digest = hashlib.sha256()
        while data := file.read(CHUNK):
            self._go_on()
            digest.update(data)
        if kept < self.image.size or not kept:
            with _get(f"{self.source.url}/{self.image.sha256}", self.source.token, kept) as answer:
                self._check_head(answer, kept)
                if kept and answer.status == 200:  # it does not resume: all comes again
                    file.seek(0)
                    file.truncate()
                    digest, kept = hashlib.sha256(), 0
                self._copy(answer, file, digest, kept)
        if digest.hexdigest() != self.image.sha256:
            raise _Useless("its bytes have another digest")
        file.flush()

    def _check_head(self, answer: HTTPResponse, kept: int) -> None:
        size = self.image.size
        expected = size if answer.status == 200 else size - kept
        announced = answer.headers.get("Content-Length")
        if announced is not None and announced != str(expected):
            raise _Useless(f"it has {announced} bytes instead of {expected}")
        behind = answer.headers.get("Content-Range")
        if answer.status == 206 and behind != f"bytes {kept}-{size - 1}/{size}":
            raise _Useless(f"the controller sends another part of it than asked for: {behind}")

    def _copy(self, answer: HTTPResponse, file: IO[bytes], digest: Any, done: int) -> None:
        size = self.image.size
        deadline = time.monotonic() + PATIENCE + (size - done) / SLOWEST
        while data := answer.read1(CHUNK):
            self._go_on()
            done += len(data)
            if done > size:
                raise _Useless(f"it has more than {size} bytes")
            if time.monotonic() > deadline:
                raise ImageError("it comes too slowly")
            digest.update(data)
            file.write(data)
            self.tell(done)
        if done != size:
            raise ImageError(f"only {done} of {size} bytes came")

    def _go_on(self) -> None:
        if self.closing.is_set():
            raise ImageError("the agent is ending")


class _NoRedirect(HTTPRedirectHandler):
    """The token is for one address only."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = build_opener(ProxyHandler({}), _NoRedirect)


def _get(url: str, token: str, start: int) -> HTTPResponse:
    """The bytes from `start` on (206), or all (200). Raises _Useless where there are none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ImageError("its address is not http://host:port/path")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ImageError("token over plain http only to loopback")
    headers = {"Authorization": f"Bearer {token}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response: HTTPResponse = _OPENER.open(Request(url, headers=headers), timeout=TIMEOUT)  # noqa: S310
    except HTTPError as error:
        if start and error.code == 416:
            error.close()
            raise _Useless("the controller has fewer bytes of it") from None
        raise
    if response.status not in ((200, 206) if start else (200,)):
        response.close()
        raise ImageError(f"the controller answers {response.status}")
    return response


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
