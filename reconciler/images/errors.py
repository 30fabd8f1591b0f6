"""Why bytes are not in the library. After any of these, no image became visible.

ImageError
├── BadBytes        not the bytes that were announced; nothing of them is kept
├── Incomplete      the sender went away: what came is kept, and can be continued
├── WrongOffset     the sender would leave a gap, or a doubled piece
├── InUse           somebody else is sending these bytes now
├── LibraryFull     no room for them; heals by itself once there is
├── LibraryLocked   another process has the directory
└── Broken          the disk fails, or denies
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ImageError(Exception):
    """A sentence for people."""


class BadBytes(ImageError):
    """The sender's fault."""


class Incomplete(ImageError):
    """`kept` bytes are here."""

    def __init__(self, message: str, kept: int) -> None:
        super().__init__(message)
        self.kept = kept


class WrongOffset(ImageError):
    """`kept` bytes are here."""

    def __init__(self, offset: int, kept: int) -> None:
        super().__init__(f"{kept} bytes are here, so that is where to go on, not at {offset}")
        self.kept = kept


class InUse(ImageError):
    """Try again a little later."""


class LibraryFull(ImageError):
    """No room."""


class LibraryLocked(ImageError):
    """Said at the start."""


class Broken(ImageError):
    """The disk's fault."""


@contextmanager
def disk_errors() -> Iterator[None]:
    """What the disk refuses, as an ImageError."""
    try:
        yield
    except OSError as error:
        type_ = LibraryFull if error.errno in FULL else Broken
        raise type_(f"the image library cannot keep it: {error.strerror}") from error
