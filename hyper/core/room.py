"""Whether there is room for an image: in the cache, whose size is limited, and on the disk below it.

Here: the arithmetic and the sentence about it. Not here: measuring, nor which images go to make room.
"""

from dataclasses import dataclass

from manifests.kinds.image import ImageFormat
from manifests.wire import ImageRef

COPIED = (ImageFormat.DOCKER_ARCHIVE,)
"""Formats of which the engine keeps a copy, as large as the bytes; others it uses in place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """All in bytes. `held`: by all images, in the cache and in their engines, with what is still
    coming of those on their way; `disk`: free there, without the reserve and what is coming."""

    limit: int
    held: int
    disk: int

    @property
    def short(self) -> int:
        """What has to go."""
        return max(self.held - self.limit, -self.disk, 0)


@dataclass(frozen=True, slots=True)
class Lack:
    """Why an image cannot be fetched now. In bytes."""

    needs: int
    free: int
    where: str

    @property
    def missing(self) -> int:
        return self.needs - self.free


def footprint(image: ImageRef) -> int:
    """Bytes that an image takes in the end, as far as that is known before."""
    return image.size * (2 if image.format in COPIED else 1)


def lack(room: Room, image: ImageRef, here: int) -> Lack | None:
    """`here`: bytes of it that are here already, and counted in `room`."""
    needs = footprint(image) - here
    free = room.limit - room.held
    if needs > free:
        return Lack(needs, free, "in the image cache (hyper --image-cache)")
    if image.size - here > room.disk:
        return Lack(image.size - here, room.disk, "on the disk")
    return None


def no_room(image: ImageRef, it: Lack) -> str:
    needs, free = shown(it.needs), shown(max(it.free, 0))
    return f"no room for image {image.sha256[:12]}: needs {needs}, {free} free {it.where}"


def shown(size: int) -> str:
    """2.1 GiB, 340 MiB."""
    for bits, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << bits:
            number = size / (1 << bits)
            return f"{number:.1f} {unit}" if number < 100 else f"{number:.0f} {unit}"
    return f"{size} bytes"
