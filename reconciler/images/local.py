"""Files of this host as images: copied into the library, and not read again while they stay the same."""

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from manifests.scalars import Sha256
from reconciler.images.beneath import open_beneath
from reconciler.images.errors import ImageError, InUse
from reconciler.images.library import Library
from reconciler.images.writing import CHUNK

PATIENCE = 30.0
"""Seconds that a file waits for the one that is being read."""
MOST_KNOWN = 1000

Identity = tuple[int, ...]


class Unreadable(ImageError):
    """Why an allowed file cannot be had."""


class LocalFiles:
    """`roots`: the directories that files may come from."""

    def __init__(self, library: Library, roots: Sequence[Path] = ()) -> None:
        self._library = library
        self._roots = tuple(roots)
        self._known: dict[Identity, Sha256] = {}
        self._turn = threading.Lock()

    def take(self, path: str, also: Sequence[Path] = ()) -> Sha256:
        """Have the bytes of the file at the absolute `path` in the library; durable on return.

        It must be below one of the roots, or of those in `also`. Raises Outside, ImageError.
        """
        with self._one_at_a_time():
            try:
                file = open_beneath((*self._roots, *also), path)
            except OSError as error:
                raise Unreadable(f"{path} cannot be read: {_reason(error)}") from None
            with file:
                return self._take(file, path)

    def _take(self, file: BinaryIO, path: str) -> Sha256:
        identity = _identity(file)
        known = self._known.get(identity)
        if known is not None and self._library.touch(known):
            return known
        try:
            found = self._found(file, size=identity[2]) or self._library.copy(file, identity[2])
        except OSError as error:
            raise Unreadable(f"{path} cannot be read: {_reason(error)}") from None
        if _identity(file) == identity:
            self._known[identity] = found
            while len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]
        return found

    def _found(self, file: BinaryIO, size: int) -> Sha256 | None:
        """Its digest, if its bytes are here. Needs no room, so that a restart needs none either."""
        if size not in self._library.sizes():
            return None
        digest = hashlib.sha256()
        while chunk := file.read(8 * CHUNK):
            digest.update(chunk)
        file.seek(0)
        found = Sha256(digest.hexdigest())
        return found if self._library.touch(found) else None

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=PATIENCE):
            raise InUse("other files are being read; try again")
        try:
            yield
        finally:
            self._turn.release()


def _identity(file: BinaryIO) -> Identity:
    """Changes with every change of the file: the kernel alone sets a ctime."""
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _reason(error: OSError) -> str:
    if isinstance(error, NotADirectoryError):
        return "a part of its path is a symbolic link, or no directory"
    return (error.strerror or str(error)).lower()
