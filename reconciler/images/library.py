"""The library itself: what is here, what is coming, and what nobody needs any more.

A file is here whole and verified, or not at all. Each digest has one writer at a time; what a writer
leaves unfinished is kept for a day, within bounds, and gives way when room is needed.
"""

import os
import secrets
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from manifests.scalars import Sha256
from reconciler.images.directory import NEW, PARTIAL, Directory
from reconciler.images.errors import (
    BadBytes,
    Incomplete,
    InUse,
    LibraryFull,
    WrongOffset,
)
from reconciler.images.writing import CHUNK, Hashed, Room, Writer

RESERVE = 256 << 20
"""Bytes of the disk that stay free."""
YOUNG = 3600.0
"""Seconds for which bytes that nobody uses are kept: they are uploaded before they are applied."""
STALE = 24 * 3600.0
"""Seconds for which an unfinished file is kept after the last byte came."""
MOST_PARTIALS = 64
MOST_PARTIAL_BYTES = 256 << 30


class Source(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes: ...


class Library:
    """Raises ImageError, OSError."""

    def __init__(self, root: Path, *, reserve: int = RESERVE) -> None:
        self.root = root
        self.directory = Directory(root)
        self.room = Room(root, reserve, self._make_room)
        self._writing: set[str] = set()
        """Names of the unfinished files that somebody is writing."""
        self._hashed: dict[str, Hashed] = {}
        self._lock = threading.Lock()
        for name, _ in self._idle():
            if name.startswith(NEW):
                self._drop(name)
        self._bound_partials(time.time())

    def close(self) -> None:
        """Another process may have it."""
        self.directory.close()

    # -- what is here

    def path(self, sha256: str) -> Path:
        return self.root / Sha256.from_json(sha256)

    def has(self, sha256: str) -> bool:
        return self.directory.status(Sha256.from_json(sha256)) is not None

    def touch(self, sha256: str) -> bool:
        """Whether the bytes are here; if so they count as new, since somebody is about to use them."""
        if not self.has(sha256):
            return False
        try:
            os.utime(self.path(sha256))
        except FileNotFoundError:
            return False
        return True

    def size(self, sha256: str) -> int:
        """In bytes; 0 for bytes that are not here."""
        found = self.directory.status(Sha256.from_json(sha256))
        return found.st_size if found else 0

    def sizes(self) -> frozenset[int]:
        """Of all that is here."""
        return frozenset(status.st_size for _, status in self.directory.whole())

    def open(self, sha256: str) -> BinaryIO:
        """Raises FileNotFoundError."""
        return self.directory.open(Sha256.from_json(sha256))

    def kept(self, sha256: str) -> int:
        """How many bytes of an unfinished file are here."""
        found = self.directory.status(_partial(Sha256.from_json(sha256)))
        return found.st_size if found else 0

    # -- what is coming

    def receive(
        self,
        sha256: str,
        stream: Source,
        length: int,
        *,
        offset: int | None = None,
        total: int | None = None,
    ) -> int:
        """Take `length` bytes from `stream`, to be put at `offset`, or instead of all that is kept.

        Returns how many bytes are kept now; with `total` of them (by default these are the last),
        the file is here, verified and durable. Raises ImageError.
        """
        with self.writer(sha256) as writer:
            if offset is None:
                writer.restart()
            elif offset != writer.offset:
                raise WrongOffset(offset, writer.offset)
            end = writer.offset + length
            writer.expect(max(total or 0, end) - writer.offset)
            _copy(stream, writer, end)
            if total is not None and end < total:
                writer.sync()
            else:
                writer.finish(Sha256.from_json(sha256))
            return end

    def put(self, sha256: str, stream: Source, length: int) -> None:
        """All of the file at once. Raises ImageError."""
        self.receive(sha256, stream, length)

    def copy(self, file: Source, length: int) -> Sha256:
        """All of a file whose digest is not known yet. Raises ImageError, and OSError of the file."""
        with self._writer(f"{NEW}{secrets.token_hex(32)}{PARTIAL}") as writer:
            try:
                writer.expect(length)
                while chunk := file.read(CHUNK):
                    writer.write(chunk)
                return writer.finish(None)
            except BaseException:
                writer.drop()
                raise

    def writer(self, sha256: str) -> AbstractContextManager[Writer]:
        """The one writer of these bytes. What it wrote is kept, unless the bytes are wrong, or there
        is no room for them. Raises InUse, LibraryFull, Broken."""
        return self._writer(_partial(Sha256.from_json(sha256)))

    @contextmanager
    def _writer(self, name: str) -> Iterator[Writer]:
        with self._claimed(name):
            writer = Writer(self.directory, self.room, name, self._hashed.pop(name, Hashed()))
            try:
                yield writer
            except (BadBytes, LibraryFull):
                writer.drop()
                raise
            finally:
                writer.close()
                if not writer.offset:
                    self.directory.remove(name)
                elif self.directory.status(name):
                    self._hashed[name] = writer.hashed

    @contextmanager
    def _claimed(self, name: str) -> Iterator[None]:
        with self._lock:
            if name in self._writing:
                raise InUse("these bytes are being received already; try again when that is over")
            self._writing.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._writing.discard(name)
            self._bound_partials(time.time())

    # -- what goes

    def keep(self, digests: Collection[str], *, now: float, younger: float = YOUNG) -> None:
        """Remove the bytes that are not in `digests`, unless they came within `younger` seconds; and
        what was left unfinished too long ago."""
        for name, status in self.directory.whole():
            if name not in digests and status.st_mtime < now - younger:
                self.directory.remove(name)
        self._bound_partials(now)

    def _bound_partials(self, now: float) -> None:
        """Of the unfinished files nobody is writing, the newest are kept."""
        count = size = 0
        for name, status in self._idle():
            count, size = count + 1, size + status.st_size
            old = status.st_mtime < now - STALE
            if old or count > MOST_PARTIALS or size > MOST_PARTIAL_BYTES:
                self._drop(name)

    def _make_room(self, missing: int) -> bool:
        """Drop the oldest unfinished file that nobody is writing, if all of them would be enough."""
        idle = self._idle()
        if not idle or sum(status.st_size for _, status in idle) < missing:
            return False
        self._drop(idle[-1][0])
        return True

    def _idle(self) -> list[tuple[str, os.stat_result]]:
        """Newest first."""
        found = [item for item in self.directory.partial() if item[0] not in self._writing]
        return sorted(found, key=lambda item: item[1].st_mtime, reverse=True)

    def _drop(self, name: str) -> None:
        with self._lock:
            if name not in self._writing:
                self._hashed.pop(name, None)
                self.directory.remove(name)


def _partial(sha256: Sha256) -> str:
    return f"{sha256}{PARTIAL}"


def _copy(stream: Source, writer: Writer, end: int) -> None:
    """From the stream until `end` bytes are there."""
    while writer.offset < end:
        try:
            chunk = stream.read(min(CHUNK, end - writer.offset))
        except OSError as error:
            raise Incomplete(f"the upload broke off: {error}", writer.offset) from error
        if not chunk:
            message = f"only {writer.offset} of {end} bytes came"
            raise Incomplete(message, writer.offset)
        writer.write(chunk)
