"""The image library: the bytes of images, each file named by its sha256.

A file is here whole and verified, or not at all: bytes arrive in a temporary file, which is checked
and brought to the disk before it gets its name. Not here: what an image is for, nor its format.

ImageError
├── BadBytes        not the bytes that were announced: too few, or another digest
└── LibraryFull     no room for them
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from manifests.scalars import Sha256

CHUNK = 1 << 20
PARTIAL = ".part"
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
RESERVE = 256 << 20
"""Bytes of the disk that stay free."""
YOUNG = 3600.0
"""Seconds for which bytes that nobody uses are kept: they are uploaded before they are applied."""


class ImageError(Exception):
    """A sentence for people."""


class BadBytes(ImageError):
    """The sender's fault."""


class LibraryFull(ImageError):
    """The disk's fault."""


class Source(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes: ...


class Library:
    def __init__(self, root: Path, *, reserve: int = RESERVE) -> None:
        self.root = root
        self.reserve = reserve
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in root.glob(f"*{PARTIAL}"):
            leftover.unlink()

    def path(self, sha256: str) -> Path:
        return self.root / Sha256.from_json(sha256)

    def has(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def touch(self, sha256: str) -> bool:
        """Whether the bytes are here; if so they count as new, since somebody is about to use them."""
        try:
            os.utime(self.path(sha256))
        except FileNotFoundError:
            return False
        return True

    def size(self, sha256: str) -> int:
        """In bytes; 0 for bytes that are not here."""
        with suppress(FileNotFoundError):
            return self.path(sha256).stat().st_size
        return 0

    def open(self, sha256: str) -> BinaryIO:
        """Raises FileNotFoundError."""
        return self.path(sha256).open("rb")

    def put(self, sha256: str, stream: Source, length: int) -> None:
        """Take `length` bytes from `stream`; durable on return. Raises ImageError."""
        self._make_room(length)
        partial = self.root / f"{sha256}.{secrets.token_hex(8)}{PARTIAL}"
        try:
            with os.fdopen(os.open(partial, NEW, 0o600), "wb") as file:
                _copy(stream, length, file, sha256)
            partial.rename(self.path(sha256))
            self._remember_names()
        except OSError as error:
            raise LibraryFull(f"the image library cannot keep it: {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)

    def keep(self, digests: Collection[str], *, now: float, younger: float = YOUNG) -> None:
        """Remove the bytes that are not in `digests`, unless they came within `younger` seconds."""
        for file in self.root.iterdir():
            unused = file.name not in digests and file.suffix != PARTIAL
            if unused and file.stat().st_mtime < now - younger:
                file.unlink()

    def _make_room(self, length: int) -> None:
        free = shutil.disk_usage(self.root).free - self.reserve
        if length > free:
            raise LibraryFull(
                f"no room for {length} bytes: {max(free, 0)} are free in the image library"
            )

    def _remember_names(self) -> None:
        directory = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _copy(stream: Source, length: int, file: BinaryIO, sha256: str) -> None:
    """Exactly `length` bytes, on the disk on return."""
    found, left = hashlib.sha256(), length
    while left:
        if not (chunk := _chunk(stream, min(CHUNK, left))):
            raise BadBytes(f"only {length - left} of {length} bytes came")
        found.update(chunk)
        file.write(chunk)
        left -= len(chunk)
    if found.hexdigest() != sha256:
        raise BadBytes(f"the bytes have sha256 {found.hexdigest()}, not {sha256}")
    file.flush()
    os.fsync(file.fileno())


def _chunk(stream: Source, size: int) -> bytes:
    try:
        return stream.read(size)
    except OSError as error:
        raise BadBytes(f"the upload broke off: {error}") from error
