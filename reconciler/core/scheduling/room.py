"""What a node has to hand out, and what a machine asks for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from manifests.kinds.image import MachineType
from manifests.kinds.machine import MachineSpec
from manifests.scalars import Cpus, Memory, Port
from reconciler.core.model import UNSEEN, NodeState, Object, Placed, Snapshot
from reconciler.core.scheduling.taken import PortKey, reserved, strangers


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one machine, of that name, asks of a node."""

    type: MachineType
    memory: Memory
    cpus: Cpus
    ports: tuple[Port, ...] = ()
    pin: str | None = None
    name: str = ""

    @classmethod
    def of(cls, spec: MachineSpec, type_: MachineType, name: str = "") -> "Demand":
        return cls(
            type=type_,
            memory=spec.memory,
            cpus=spec.cpus,
            ports=spec.ports,
            pin=spec.node,
            name=name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One node as the scheduler sees it. `engines` maps each engine to "" or what is wrong with it;
    `ports` tells who has a port. cpus and memory are totals."""

    name: str
    state: NodeState
    removing: bool = False
    engines: Mapping[MachineType, str] = field(default_factory=dict)
    cpus: int = 0
    memory: int = 0
    cpus_used: int = 0
    memory_used: int = 0
    ports: Mapping[PortKey, str] = field(default_factory=dict)
    machines: int = 0

    def with_machine(self, name: str, demand: Demand) -> "Room":
        """The room left when the machine runs here too."""
        taken = {(port.protocol, port.node): f"machine {name}" for port in demand.ports}
        return self._changed(demand, taken, 1)

    def without(self, demand: Demand) -> "Room":
        """The room as if that machine of ours were not here."""
        return self._changed(demand, {}, -1)

    def _changed(self, demand: Demand, taken: Mapping[PortKey, str], sign: int) -> "Room":
        mine = {(port.protocol, port.node) for port in demand.ports}
        others = {
            key: owner
            for key, owner in self.ports.items()
            if key not in mine or not owner.startswith("machine ")
        }
        return replace(
            self,
            cpus_used=self.cpus_used + sign * demand.cpus,
            memory_used=self.memory_used + sign * demand.memory,
            machines=self.machines + sign,
            ports={**others, **taken},
        )


def rooms(snapshot: Snapshot, placements: Iterable[Placed]) -> dict[str, Room]:
    """Every node's room, by name, with these placements in it."""
    by_node: dict[str, list[Placed]] = {}
    for placed in placements:
        by_node.setdefault(placed.node, []).append(placed)
    return {
        node.name: _room(snapshot, node, by_node.get(node.name, []))
        for node in snapshot.of_kind("Node")
    }


def _room(snapshot: Snapshot, node: Object, placements: list[Placed]) -> Room:
    seen = snapshot.seen.get(node.name, UNSEEN)
    report, capacity = seen.report, node.node.capacity
    return Room(
        name=node.name,
        state=seen.state,
        removing=node.deleting,
        engines={
            driver.type: "" if driver.ok else driver.detail or "it does not answer"
            for driver in (report.drivers if report else ())
        },
        cpus=capacity.cpus or (report.cpus if report else 0),
        memory=capacity.memory or (report.memory if report else 0),
        cpus_used=sum(placed.wire.cpus for placed in placements),
        memory_used=sum(placed.wire.memory for placed in placements),
        ports={key: holder.told for key, holder in strangers(snapshot, node.name).items()}
        | reserved(node)
        | {
            (port.protocol, port.node): f"machine {placed.wire.name}"
            for placed in placements
            for port in placed.wire.ports
        },
        machines=len(placements),
    )
