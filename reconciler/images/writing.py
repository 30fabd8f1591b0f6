"""Bytes on their way into the library: one file that grows, is verified, and gets its name.

What came is kept when its sender goes away, also over a restart of ours, and is continued from there.
Not here: who may write, and how long unfinished files are kept (`library`).
"""

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from manifests.scalars import Sha256
from reconciler.images.directory import Directory
from reconciler.images.errors import BadBytes, LibraryFull, disk_errors

CHUNK = 128 << 10
SYNCED = 256 << 20
"""So often the disk is waited for: at the end, or when the program is to end, it must not take minutes."""


@dataclass(slots=True)
class Hashed:
    """The digest of the first `count` bytes of a file: all of those that came while we watched."""

    count: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, data: bytes) -> None:
        self.digest.update(data)
        self.count += len(data)


class Room:
    """What is free, less what stays free and what others were promised.

    `make_room` frees something that is not needed; False where so many bytes cannot be had that way.
    """

    def __init__(self, root: Path, reserve: int, make_room: Callable[[int], bool]) -> None:
        self.reserve = reserve
        self._root = root
        self._make_room = make_room
        self._promised: dict[str, int] = {}
        self._lock = threading.Lock()

    def promise(self, name: str, count: int) -> None:
        """Keep `count` bytes for `name`, until it takes less. Raises LibraryFull."""
        while not self._promises(name, count):
            free = self._free(but=name)
            if not self._make_room(count - free):
                raise LibraryFull(
                    f"no room for {count} bytes: {max(0, free)} are free in the image library"
                )

    def take(self, name: str, count: int) -> None:
        """So many bytes will be written now, of those promised if there are. Raises LibraryFull."""
        if self._promised.get(name, 0) < count:
            self.promise(name, count)
        with self._lock:
            self._promised[name] -= count

    def _promises(self, name: str, count: int) -> bool:
        with self._lock:
            if fits := count <= self._free(but=name):
                self._promised[name] = count
            return fits

    def _free(self, but: str) -> int:
        others = sum(size for name, size in self._promised.copy().items() if name != but)
        return shutil.disk_usage(self._root).free - self.reserve - others

    def end(self, name: str) -> None:
        with self._lock:
            self._promised.pop(name, None)


class Writer:
    """The file `name`, open at its end. `offset` bytes of it are there."""

    def __init__(self, directory: Directory, room: Room, name: str, hashed: Hashed) -> None:
        self.name = name
        self.offset = 0
        self._directory = directory
        self._room = room
        with disk_errors():
            if directory.status(name):
                self._fd = directory.reopen(name)
                self.offset = os.lseek(self._fd, 0, os.SEEK_END)
            else:
                self._fd = directory.create(name)
        self.hashed = hashed if hashed.count <= self.offset else Hashed()

    def restart(self) -> None:
        """Forget what is there."""
        with disk_errors():
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
        self.offset, self.hashed = 0, Hashed()

    def expect(self, count: int) -> None:
        """So many bytes are still to come. Raises LibraryFull."""
        self._room.promise(self.name, count)

    def write(self, data: bytes) -> None:
        """Raises LibraryFull, Broken."""
        self._room.take(self.name, len(data))
        view = memoryview(data)
        with disk_errors():
            while view:
                view = view[os.write(self._fd, view) :]
            if self.offset // SYNCED != (self.offset + len(data)) // SYNCED:
                os.fdatasync(self._fd)
        if self.hashed.count == self.offset:
            self.hashed.add(data)
        self.offset += len(data)

    def sync(self) -> None:
        with disk_errors():
            os.fsync(self._fd)

    def catch_up(self) -> bool:
        """Read some of what came before a restart, which nobody has hashed; whether that is all."""
        with disk_errors():
            for _ in range(32):
                if not (chunk := os.pread(self._fd, 1 << 20, self.hashed.count)):
                    break
                self.hashed.add(chunk)
        return self.hashed.count >= self.offset

    def finish(self, expected: Sha256 | None) -> Sha256:
        """Verify all of it and give it its name; durable on return. Raises BadBytes."""
        while not self.catch_up():
            pass
        found = Sha256(self.hashed.digest.hexdigest())
        if expected is not None and found != expected:
            raise BadBytes(f"the bytes have sha256 {found}, not {expected}")
        with disk_errors():
            self._directory.publish(self._fd, self.name, found)
        return found

    def drop(self) -> None:
        """Nothing of it is kept."""
        self._directory.remove(self.name)
        self.offset, self.hashed = 0, Hashed()

    def close(self) -> None:
        self._room.end(self.name)
        os.close(self._fd)
