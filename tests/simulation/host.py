"""What an agent finds on its host: the ledger and the cache on its disk, the kernel's publication."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hyper.core.model import Publication, Stock
from hyper.core.room import Room, lack
from hyper.download import ImageError, Source
from hyper.images import NoRoom
from hyper.ledger import Entry, LedgerError
from hyper.ports import PublishError
from manifests.kinds.image import MachineType
from manifests.scalars import Port
from manifests.wire import ImageRef
from tests.simulation import documents

if TYPE_CHECKING:
    from tests.simulation.node import SimNode


class Disk:
    """What the agent wrote to its ledger and cache, as a restarted agent finds it."""

    def __init__(self) -> None:
        self.entry = Entry()
        self.cards: dict[tuple[MachineType, str], tuple[ImageRef, int, bool]] = {}
        """The image, what its engine holds of it, and whether it is ready; in the order of use."""
        self.images: dict[str, int] = {}


class SimLedger:
    def __init__(self, node: SimNode) -> None:
        self.disk = node.disk
        self.entry = node.disk.entry
        self._node = node

    def save(self, entry: Entry) -> None:
        if self._node.world.faults.hit("ledger full"):
            raise LedgerError("the simulated disk is full")
        self._node.world.oracle.noted(self._node.host, self.entry.assignment, entry.assignment)
        self.disk.entry = self.entry = entry


class SimImages:
    """The agent's cache: its bytes come through the API of whoever controls the cluster."""

    def __init__(self, node: SimNode) -> None:
        self._node = node
        self._disk = node.disk

    def path(self, image: ImageRef) -> Path | None:
        here = self._disk.images.get(image.sha256) == image.size
        return Path("/simulated", image.sha256) if here else None

    def note(self, type_: MachineType, image: ImageRef) -> None:
        self._disk.cards.setdefault((type_, image.sha256), (image, 0, False))

    def fetch(self, image: ImageRef, source: Source) -> Path:
        world = self._node.world
        if self.path(image) is None:
            if (
                why := lack(self._room(), image, self._disk.images.get(image.sha256, 0))
            ) is not None:
                world.faults.did("no room for an image")
                raise NoRoom(image, why)
            if world.faults.hit("fetch failed"):
                self._disk.images[image.sha256] = image.size // 2
                raise ImageError("the simulated network lost the image")
            world.fetch(image, source.token)
            self._disk.images[image.sha256] = image.size
        return Path("/simulated", image.sha256)

    def hold(self, type_: MachineType, image: ImageRef, engine: int) -> None:
        self._disk.cards.pop((type_, image.sha256), None)
        self._disk.cards[type_, image.sha256] = image, engine, True

    def drop(self, type_: MachineType, image: ImageRef) -> None:
        world, disk = self._node.world, self._disk
        if disk.cards.pop((type_, image.sha256), None) is not None:
            world.faults.did("image dropped")
        if not any(sha256 == image.sha256 for _, sha256 in disk.cards):
            disk.images.pop(image.sha256, None)
            for engine in self._node.engines.values():
                world.oracle.dropped(engine, image.sha256)

    def stock(self) -> tuple[Stock, ...]:
        return tuple(self._stock(type_, *card) for (type_, _), card in self._disk.cards.items())

    def stock_of(self, type_: MachineType, image: ImageRef) -> Stock | None:
        card = self._disk.cards.get((type_, image.sha256))
        return self._stock(type_, *card) if card else None

    def short(self) -> int:
        return self._room().short

    def _stock(self, type_: MachineType, image: ImageRef, engine: int, ready: bool) -> Stock:
        held = engine + self._disk.images.get(image.sha256, 0)
        return Stock(
            type=type_, image=image, held=held, ready=ready and self.path(image) is not None
        )

    def _room(self) -> Room:
        held = sum(it.held for it in self.stock())
        full = self._node.world.faults.hit("disk nearly full")
        disk = -documents.LARGEST_SET if full else documents.LARGEST_SET
        return Room(limit=self._node.cache, held=held, disk=disk)


class SimPublisher:
    """The kernel's publication of ports: it outlives the agent."""

    def __init__(self, node: SimNode) -> None:
        self._node = node

    def publish(self, wanted: Publication) -> Mapping[Port, str]:
        if self._node.world.faults.hit("publishing failed"):
            raise PublishError("the simulated kernel refuses")
        self._node.publish(wanted)
        return {}

    def close(self) -> None: ...
