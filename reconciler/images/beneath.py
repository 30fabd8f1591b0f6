"""Opening a file of this host that a user named: only what really lies in a directory that was allowed.

Each part of the path is opened by itself, in the directory before it, and none may be a symbolic link:
no name that changes meanwhile leads out. Nothing but a regular file is ever opened for reading; opening
a device can already do something.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Outside(ValueError):
    """It is in no directory that is allowed; says nothing of what is there."""


def open_beneath(roots: Iterable[Path], path: str) -> BinaryIO:
    """The file at the absolute `path`, which must be below one of `roots`.

    Raises Outside, and OSError for what is in there but is not a regular file.
    """
    for root in roots:
        if parts := _parts(root, path):
            return _walk(root, parts)
    raise Outside(path)


def _parts(root: Path, path: str) -> list[str]:
    """From the root to the file; empty where it is not below it by its plain name, or hidden: no image
    is called `.git/config`, where secrets of whoever made a watched directory may be."""
    whole = PurePosixPath(path)
    if str(whole) != path or ".." in whole.parts or not whole.is_relative_to(root):
        return []
    parts = list(whole.relative_to(root).parts)
    return [] if any(part.startswith(".") for part in parts) else parts


def _walk(root: Path, parts: list[str]) -> BinaryIO:
    *directories, name = parts
    found = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in directories:
            inner = os.open(part, LOOK | os.O_DIRECTORY, dir_fd=found)
            os.close(found)
            found = inner
        file = os.open(name, LOOK, dir_fd=found)
        os.close(found)
        found = file
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(None, "not a regular file")
        # The very file that was looked at, whatever has its name by now.
        return open(f"/proc/self/fd/{found}", "rb", buffering=0)
    finally:
        os.close(found)
