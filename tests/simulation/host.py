"""What an agent finds on its host: the ledger and the cache on its disk, the kernel's publication."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hyper.core.model import Publication
from hyper.download import ImageError
from hyper.ledger import Entry, LedgerError
from hyper.ports import PublishError
from manifests.scalars import Port
from manifests.wire import ImageRef

if TYPE_CHECKING:
    from tests.simulation.node import SimNode


class Disk:
    """What the agent wrote to its ledger and cache, as a restarted agent finds it."""

    def __init__(self) -> None:
        self.entry = Entry()
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

    def path(self, image: ImageRef) -> Path | None:
        here = self._node.disk.images.get(image.sha256) == image.size
        return Path("/simulated", image.sha256) if here else None

    def fetch(self, image: ImageRef, url: str, token: str) -> Path:
        world = self._node.world
        if self.path(image) is None:
            if world.faults.hit("fetch failed"):
                raise ImageError("the simulated network lost the image")
            world.fetch(image, url, token)
            self._node.disk.images[image.sha256] = image.size
        return Path("/simulated", image.sha256)

    def drop(self, image: ImageRef) -> None:
        self._node.disk.images.pop(image.sha256, None)

    def keep(self, digests: object) -> list[str]:
        return []


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
