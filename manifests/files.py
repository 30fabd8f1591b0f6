"""Files that are named on a command line -> bytes, never more than asked for and from files only.

Here: walking directories, refusing devices, pipes and what is too big. Not here: what the bytes say.
"""

import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from manifests.text import MIB

STDIN = "-"
SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILES = 20_000


class FileError(Exception):
    """A path that cannot be read; `file` is fit for printing."""

    def __init__(self, path: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.file, self.message, self.hint = display(path), message, hint


def display(path: str) -> str:
    """The path as it may be printed: file names are bytes, and may hold line ends or worse."""
    name = os.fsencode(path).decode("utf-8", "backslashreplace") if path != STDIN else "<stdin>"
    return name if name.isprintable() else ascii(name)[1:-1]


def expand(path: str) -> Iterator[str | FileError]:
    """The path itself, or the manifests of a directory and those below it, in order."""
    try:
        is_directory = path != STDIN and stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        is_directory = False
    if not is_directory:
        yield path
        return
    found = 0
    for item in _below(path):
        found += 1
        if found > MAX_FILES:
            yield FileError(path, f"holds more than {MAX_FILES} manifest files", "name fewer")
            return
        yield item
    if not found:
        yield FileError(
            path, "no documents in this directory", f"files end in {', '.join(SUFFIXES)}"
        )


def _below(directory: str) -> Iterator[str | FileError]:
    errors: list[OSError] = []
    for parent, directories, names in os.walk(directory, onerror=errors.append):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.join(parent, name)
    for error in errors:
        yield FileError(str(error.filename), f"cannot be read: {error.strerror}")


def read_file(path: str, limit: int) -> bytes:
    """The bytes of a regular file; raises FileError. Sizes that lie (/proc) do no harm."""
    try:
        # Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise FileError(path, "is not a file name") from None
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileError(path, "is not a regular file", "for a pipe use -")
        return _capped(file, path, limit)


def read_stdin(stdin: BinaryIO | None, limit: int) -> bytes:
    """What standard input holds; raises FileError."""
    if stdin is None or stdin.closed:
        raise FileError(STDIN, "is closed")
    return _capped(stdin, STDIN, limit)


def _capped(file: BinaryIO, path: str, limit: int) -> bytes:
    parts: list[bytes] = []
    rest = limit + 1
    try:
        while rest > 0 and (part := file.read(min(rest, MIB))):
            parts.append(part)
            rest -= len(part)
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}") from None
    if rest <= 0:
        raise FileError(
            path, f"is larger than {limit // MIB or 1} MiB", "split it into several files"
        )
    return b"".join(parts)
