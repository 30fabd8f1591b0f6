"""The directory of the library on the disk: which of its files are ours, and nothing else of it.

Ours are files named by 64 hexadecimal digits, and what is on its way to such a name (`.part`). Any
other file is somebody else's and is never touched. The directory may be shared with others (the lab
exports it by NFS), so that no name in it is followed: a link or a device under our name is not ours.
"""

import fcntl
import os
import re
import stat
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from manifests.durable import sync_directory
from reconciler.images.errors import Broken, LibraryLocked

PARTIAL = ".part"
NEW = "new-"
"""Begins the name of an unfinished file whose digest is not known yet."""
WHOLE_NAME = re.compile("[0-9a-f]{64}")
PARTIAL_NAME = re.compile(r"(new-)?[0-9a-f]{64}\.part")
SAFE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Opening must not follow a link, nor wait for the other end of a FIFO."""


class Directory:
    """Made where it is missing, for us alone; held until `close`. Raises LibraryLocked, Broken."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            self._claim(root)
        except OSError as error:
            raise Broken(
                f"{root} cannot be used for images: {error.strerror}; choose another with --images"
            ) from None

    def _claim(self, root: Path) -> None:
        if not root.is_dir():
            root.mkdir(mode=0o700, parents=True)
            sync_directory(root.parent)
        opened = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.close = weakref.finalize(self, os.close, opened)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise LibraryLocked(
                f"{root} is the image directory of another iaas-reconciler that runs;"
                " stop it, or give this one its own --images"
            ) from None

    def open(self, name: str) -> BinaryIO:
        """A whole file. Raises FileNotFoundError, also for what is not ours."""
        try:
            file = os.fdopen(os.open(self.root / name, os.O_RDONLY | SAFE), "rb")
        except OSError as error:
            raise FileNotFoundError(name) from error
        if not _ours(os.fstat(file.fileno())):
            file.close()
            raise FileNotFoundError(name)
        return file

    def status(self, name: str) -> os.stat_result | None:
        """None where there is no such file of ours."""
        try:
            found = os.lstat(self.root / name)
        except FileNotFoundError:
            return None
        return found if _ours(found) else None

    def create(self, name: str) -> int:
        """A file descriptor of a new file; what had its name is gone."""
        (self.root / name).unlink(missing_ok=True)
        return os.open(self.root / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | SAFE, 0o600)

    def reopen(self, name: str) -> int:
        """A file descriptor of a file of ours, to go on writing."""
        return os.open(self.root / name, os.O_RDWR | SAFE)

    def publish(self, opened: int, name: str, whole: str) -> None:
        """Give a file that is whole its name for good; durable on return."""
        os.fchmod(opened, self.mode)
        os.fsync(opened)
        (self.root / name).rename(self.root / whole)
        sync_directory(self.root)

    @property
    def mode(self) -> int:
        """Who may list the directory may read the images: so they are in an NFS export made for it,
        and ours alone in a directory that is ours alone."""
        return 0o600 | (self.root.stat().st_mode & 0o044)

    def whole(self) -> Iterator[tuple[str, os.stat_result]]:
        return self._matching(WHOLE_NAME)

    def partial(self) -> Iterator[tuple[str, os.stat_result]]:
        return self._matching(PARTIAL_NAME)

    def _matching(self, pattern: re.Pattern[str]) -> Iterator[tuple[str, os.stat_result]]:
        for name in os.listdir(self.root):
            if pattern.fullmatch(name) and (status := self.status(name)):
                yield name, status

    def remove(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)


def _ours(status: os.stat_result) -> bool:
    """A regular file that nobody but us (or root) can have written."""
    return stat.S_ISREG(status.st_mode) and status.st_uid in (0, os.geteuid())
