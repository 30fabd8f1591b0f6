"""Engines that tell the oracle of every change in the moment it happens: the ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hyper.core.model import Instance, Life
from hyper.drivers.simulated import Engine
from manifests.kinds.image import MachineType
from manifests.scalars import Port
from manifests.wire import Placement

if TYPE_CHECKING:
    from tests.simulation.oracle import Oracle

OTHERS = "ffffffff-ffff-4fff-8fff-ffffffffffff"
"""A cluster that shares the hosts with ours."""


class TruthEngine(Engine):
    def __init__(self, type_: MachineType, host: str, oracle: Oracle) -> None:
        super().__init__(type_)
        self.host = host
        self.oracle = oracle
        self.ports: dict[str, tuple[Port, ...]] = {}
        self.outside = False
        self.ended_outside: set[str] = set()

    @contextmanager
    def from_outside(self) -> Iterator[None]:
        """What happens inside is not the product's doing."""
        before, self.outside = self.outside, True
        try:
            yield
        finally:
            self.outside = before

    def ours(self) -> list[Instance]:
        return list(self.instances.get(self.oracle.cluster, {}).values())

    def add(self, cluster: str, placement: Placement, name: str) -> Instance:
        self.ports[f"simulated-{self._made + 1}"] = placement.ports
        instance = super().add(cluster, placement, name)
        self.oracle.created(self, cluster, instance)
        return instance

    def put(self, instance: Instance) -> None:
        cluster = self._clusters[instance.handle]
        old = self.instances.get(cluster, {}).get(instance.handle)
        self._note_end(instance, old)
        super().put(instance)
        self.oracle.changed(self, cluster, old, instance)

    def _note_end(self, instance: Instance, old: Instance | None) -> None:
        if old is None or (old.life is instance.life):
            return
        if instance.life is Life.STOPPED and self.outside:
            self.ended_outside.add(instance.handle)
        else:
            self.ended_outside.discard(instance.handle)

    def drop(self, handle: str) -> None:
        cluster = self._clusters[handle]
        instance = self.instances[cluster][handle]
        self.oracle.removed(self, cluster, instance)
        super().drop(handle)

    def stranger(self, name: str, placement: Placement) -> None:
        """An instance of another cluster appears on the host."""
        with self.from_outside():
            instance = self.add(OTHERS, placement, name)
            self.oracle.strangers[self.host, instance.handle] = instance
