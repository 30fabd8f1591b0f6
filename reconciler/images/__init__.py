"""The image library: the bytes of images, each file named by its sha256.

Here: keeping, receiving and finding bytes. Not here: what an image is for, nor its format.

`errors` the reasons · `directory` the files · `writing` bytes on their way in · `library` all of it ·
`local` files of this host, `beneath` opening them · `fetch` files from URLs, `https` and `addresses`
getting at them
"""

from reconciler.images.beneath import Outside
from reconciler.images.errors import (
    BadBytes,
    Broken,
    ImageError,
    Incomplete,
    InUse,
    LibraryFull,
    LibraryLocked,
    WrongOffset,
)
from reconciler.images.library import Library
from reconciler.images.local import LocalFiles, Unreadable

__all__ = [
    "BadBytes",
    "Broken",
    "ImageError",
    "InUse",
    "Incomplete",
    "Library",
    "LibraryFull",
    "LibraryLocked",
    "LocalFiles",
    "Outside",
    "Unreadable",
    "WrongOffset",
]
