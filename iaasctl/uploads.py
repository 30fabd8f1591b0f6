"""The bytes of image files: their digests, and their way to the reconciler, which goes on where it
broke off. Not here: which files, and what they are."""

import hashlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

from iaasctl import answers
from iaasctl.asking import AWAY, CHANGE_SECONDS, Asker
from iaasctl.errors import Failure, Unreachable
from iaasctl.transport import Request, Response

CHUNK = 1 << 20
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before an upload that broke off goes on; the next one when nothing came through since."""
GO_ON = "run the same command again: it goes on where it broke off"
Progress = Callable[[str, int, int], None]
"""Called with what is being done, the bytes done and the bytes to do."""


class Bytes(NamedTuple):
    """What a file holds."""

    sha256: str
    size: int


def quiet(_what: str, _done: int, _total: int) -> None:
    """No progress."""


def size_of(path: Path) -> int:
    """Raises OSError, also for what is no regular file."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise IsADirectoryError(0, "not a regular file")
    return status.st_size


def hashed(path: Path, progress: Progress = quiet) -> Bytes:
    """The digest of a file, read in pieces. Raises Failure."""
    digest, done = hashlib.sha256(), 0
    try:
        total = size_of(path)
        with path.open("rb", buffering=0) as source:
            while piece := source.read(CHUNK):
                digest.update(piece)
                done += len(piece)
                progress(f"reading {path}", done, total)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    return Bytes(digest.hexdigest(), done)


def unreadable(path: Path, error: OSError | ValueError) -> Failure:
    return Failure(f"cannot read {path}", why=getattr(error, "strerror", None) or str(error))


def offset(asker: Asker, sha256: str) -> int | None:
    """How many of these bytes the server has; None when it has all of them."""
    response = asker.patiently(Request(method="HEAD", path=f"/iaas/blobs/{sha256}"))
    if response.status < 300:
        return None
    if response.status != 404:
        raise answers.failure(response.status, {})
    return _offset_in(response) or 0


def send(
    asker: Asker, path: Path, found: Bytes, at: int | None, progress: Progress = quiet
) -> None:
    """Bring the server these bytes from `at` on, where `offset` says that it stands. Goes on by
    itself after a broken connection or a restart of the server, unless several tries in a row bring
    nothing. Raises Failure."""
    pauses = list(PAUSES)
    while at is not None:
        before = at
        try:
            at, trouble = _send_rest(asker, path, found, at, progress)
        except Unreachable as error:
            error.fix = GO_ON
            raise
        if at is None:
            return
        if at > before:
            pauses = list(PAUSES)
        else:
            trouble = trouble or answers.strange("it takes no more bytes")
        if trouble:
            if not pauses:
                raise trouble
            pause = pauses.pop(0)
            progress(f"{trouble.what}; trying again in {pause:g} s", at, found.size)
            time.sleep(pause)


def _send_rest(
    asker: Asker, path: Path, found: Bytes, at: int, progress: Progress
) -> tuple[int | None, Failure | None]:
    """What the server has after it, as `offset` tells, and what went wrong."""
    try:
        response = _put(asker, path, found, at, progress)
    except Unreachable as error:
        error.fix = GO_ON
        return offset(asker, found.sha256), error
    now = _offset_in(response)
    if response.status == 202:
        return (at if now is None else now), None
    if response.status in AWAY or (response.status == 409 and now is not None):
        return (at if now is None else now), answers.failure_of(response)
    answers.parsed(response, answers.one)
    return None, None


def _put(asker: Asker, path: Path, found: Bytes, at: int, progress: Progress) -> Response:
    try:
        with path.open("rb", buffering=0) as source:
            if os.fstat(source.fileno()).st_size != found.size:
                raise changed(path)
            at = min(source.seek(at), found.size)
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(found.size - at),
                "Upload-Offset": str(at),
                "Upload-Length": str(found.size),
            }
            request = Request(
                method="PUT",
                path=f"/iaas/blobs/{found.sha256}",
                headers=headers,
                body=_Body(source, path, at, found.size, progress),
                timeout=CHANGE_SECONDS,
            )
            return asker.once(request)
    except OSError as error:
        raise unreadable(path, error) from None


def _offset_in(response: Response) -> int | None:
    text = response.headers.get("upload-offset", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def changed(path: Path) -> Failure:
    return Failure(f"{path} changed while it was read", fix="try again")


class _Body:
    """The bytes of a file from `done` to `size`, neither more nor fewer, and how far it came."""

    def __init__(
        self, source: IO[bytes], path: Path, done: int, size: int, progress: Progress
    ) -> None:
        self._source = source
        self._path = path
        self._done = done
        self._size = size
        self._progress = progress

    def read(self, size: int = -1, /) -> bytes:
        left = self._size - self._done
        try:
            piece = self._source.read(min(size, left) if size >= 0 else left)
        except OSError as error:  # else it would pass for a broken connection
            raise unreadable(self._path, error) from None
        if left and not piece:
            raise changed(self._path)
        self._done += len(piece)
        self._progress(f"uploading {self._path}", self._done, self._size)
        return piece
