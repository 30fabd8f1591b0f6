"""What must never be, checked against the ground truth in the moment something changes.

Here: S1, S4, S7, S8, S10, S11 and S21 of the engines and the store. Not here: the end of a run
(`ending`), and what agents and views say (`saying`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hyper.core.model import Instance, Life, Publication
from manifests.kinds import document_of
from manifests.kinds.image import MachineType
from manifests.kinds.machine import PowerState
from manifests.wire import Assignment
from reconciler.core.model import Key, Placed, Snapshot, Stage

if TYPE_CHECKING:
    from tests.simulation.truth import TruthEngine

PlacementId = tuple[str, int]
Limits = tuple[int, int]


class Violation(Exception):
    """An invariant is broken; a sentence that names it."""


def demand(truth: bool, message: str) -> None:
    if not truth:
        raise Violation(message)


class Oracle:
    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.live: dict[str, set[tuple[str, str]]] = {}
        self.port_users: dict[tuple[str, str, int], set[str]] = {}
        self.strangers: dict[tuple[str, str], Instance] = {}
        self.existing: dict[tuple[str, str, int], str] = {}
        self.made: dict[PlacementId, int] = {}
        self.lost_outside: dict[PlacementId, int] = {}
        self.ran: set[PlacementId] = set()
        self.active: dict[PlacementId, Placed] = {}
        self.present: set[PlacementId] = set()
        self.buried: set[PlacementId] = set()
        """Placements that were gone once: what appears of them late is only to be removed."""
        self.wires: dict[PlacementId, set[tuple[PowerState, int, int]]] = {}
        self.newest: dict[str, int] = {}
        self.node_of: dict[PlacementId, str] = {}
        self.used: dict[str, Limits] = {}
        self.given: dict[PlacementId, Limits] = {}
        self.wanted: dict[Key, tuple[Any, str]] = {}
        self.going: set[Key] = set()
        self.late: set[tuple[str, str]] = set()
        """(host, handle) of what a dead caller made."""
        self.failure = ""

    def fail(self, message: str) -> None:
        """Told from inside of the product, where an exception would be handled as the product's."""
        self.failure = self.failure or message

    # -- the engines

    def created(self, engine: TruthEngine, cluster: str, it: Instance) -> None:
        if cluster != self.cluster:
            return
        key = (it.uid, it.epoch)
        self.made[key] = self.made.get(key, 0) + 1
        if key in self.active and self.made[key] > 1 + self.lost_outside.get(key, 0):
            self.fail(f"S5: {it.name}@{it.epoch} was made {self.made[key]} times")
        if self.node_of.get(key) is None:
            self.fail(f"S21: {it.name}@{it.epoch} was made but never placed")

    def changed(
        self, engine: TruthEngine, cluster: str, old: Instance | None, it: Instance
    ) -> None:
        if cluster != self.cluster:
            if not engine.outside:
                self.fail(f"S10: {it.name} of another cluster was changed")
            return
        place = (engine.host, it.handle)
        alive = self.live.setdefault(it.uid, set())
        if it.life is Life.STOPPED:
            self._ended(engine, old, it)
            alive.discard(place)
            self._free(engine, it)
            return
        self.ran.add((it.uid, it.epoch))
        alive.add(place)
        if len(alive) > 1:
            where = ", ".join(host for host, _ in sorted(alive))
            self.fail(f"S1: {it.name} runs more than once: {where}")
        self._take(engine, it)

    def _ended(self, engine: TruthEngine, old: Instance | None, it: Instance) -> None:
        if engine.outside or old is None or old.life is Life.STOPPED:
            return
        wires = self.wires.get((it.uid, it.epoch), set())
        if (it.uid, it.epoch) not in self.active or len(wires) > 1:
            return
        ((state, memory, cpus),) = wires or {(PowerState.STOPPED, 0, 0)}
        if state is PowerState.RUNNING and (memory, cpus) == (it.memory, it.cpus):
            self.fail(f"S6: {it.name}@{it.epoch} was stopped though nobody asked for it")

    def removed(self, engine: TruthEngine, cluster: str, it: Instance) -> None:
        key = (it.uid, it.epoch)
        if cluster != self.cluster:
            self.fail(f"S10: {it.name} of another cluster was removed")
            return
        self.live.setdefault(it.uid, set()).discard((engine.host, it.handle))
        self._free(engine, it)
        if engine.outside:
            self.lost_outside[key] = self.lost_outside.get(key, 0) + 1
        elif key in self.active:
            self.fail(f"S10: {it.name}@{it.epoch} was removed on {engine.host} though it shall run")

    def asked(self, engine: TruthEngine, handle: str, mine: Assignment | None) -> None:
        """An agent decides to remove an instance, going by this assignment."""
        orders = {order.uid: order.epoch for order in mine.leaving} if mine else {}
        for placement in mine.run if mine else ():
            orders[placement.uid] = max(orders.get(placement.uid, 0), placement.epoch - 1)
        for it in engine.ours():
            if it.handle == handle and it.epoch > orders.get(it.uid, 0):
                self.fail(f"S10: {engine.host} removes {it.name}@{it.epoch} without an order")

    def dropped(self, engine: TruthEngine, sha256: str) -> None:
        """An agent dropped the bytes of an image. What dead callers make late nobody can know of."""
        for it in engine.ours():
            if it.image == sha256 and (engine.host, it.handle) not in self.late:
                self.fail(f"S12: {engine.host} drops the image that {it.name}@{it.epoch} rests on")

    def noted(self, host: str, old: Assignment | None, new: Assignment | None) -> None:
        """An agent makes an assignment its own."""
        if new is None or old is new:
            return
        if old is not None and old.node == new.node and new.generation < old.generation:
            self.fail(f"S2: {host} went back from generation {old.generation} to {new.generation}")

    def _take(self, engine: TruthEngine, it: Instance) -> None:
        if engine.type is not MachineType.DOCKER:
            return
        for port in engine.ports[it.handle]:
            self.claim(engine.host, port.protocol, port.node, it.handle)

    def claim(self, host: str, protocol: str, port: int, owner: str) -> None:
        users = self.port_users.setdefault((host, protocol, port), set())
        users.add(owner)
        if len(users) > 1:
            self.fail(f"S7: port {port}/{protocol} on {host} is used by {sorted(users)}")

    def _free(self, engine: TruthEngine, it: Instance) -> None:
        if engine.type is not MachineType.DOCKER:
            return
        for port in engine.ports[it.handle]:
            self.port_users.get((engine.host, port.protocol, port.node), set()).discard(it.handle)

    def published(self, host: str, before: Publication, now: Publication) -> None:
        """The publisher of a host replaced all that it publishes."""
        for port, target in before.items():
            users = self.port_users.get((host, port.protocol, port.node), set())
            users.discard(f"vm {target.ip}")
        for port, target in now.items():
            self.claim(host, port.protocol, port.node, f"vm {target.ip}")

    # -- the store

    def committed(
        self, before: Snapshot | None, snapshot: Snapshot, caps: dict[str, Limits]
    ) -> None:
        """A new revision is in the store. `caps`: what each node has to hand out."""
        self._placements(snapshot)
        self._ports(snapshot)
        self._capacity(snapshot, caps)
        self.durable(snapshot)
        if before is not None:
            for node, generation in before.generations.items():
                demand(
                    snapshot.generations.get(node, 0) >= generation,
                    f"S2: the generation of {node} went back",
                )

    def _placements(self, snapshot: Snapshot) -> None:
        before, self.active = self.present, {}
        self.present = {(placed.uid, placed.epoch) for placed in snapshot.placements}
        self.buried |= before - self.present
        uids: set[str] = set()
        for placed in snapshot.placements:
            key = (placed.uid, placed.epoch)
            if key in self.buried:
                demand(placed.stage is Stage.LEAVING, f"S21: {placed.wire.name} came back to life")
                continue
            demand(placed.uid not in uids, f"S1: {placed.wire.name} has two placements")
            uids.add(placed.uid)
            self._epoch(placed)
            if placed.stage is Stage.ACTIVE:
                self.active[key] = placed
                wire = placed.wire
                self.wires.setdefault(key, set()).add((wire.state, wire.memory, wire.cpus))

    def _epoch(self, placed: Placed) -> None:
        key = (placed.uid, placed.epoch)
        if key not in self.node_of:
            newest = self.newest.get(placed.uid, 0)
            demand(placed.epoch > newest, f"S2: {placed.wire.name}@{placed.epoch} after {newest}")
            self.newest[placed.uid] = placed.epoch
            self.node_of[key] = placed.node
        demand(self.node_of[key] == placed.node, f"S2: {placed.wire.name}@{placed.epoch} moved")

    def _ports(self, snapshot: Snapshot) -> None:
        claimed: set[tuple[str, str, int]] = set()
        for placed in snapshot.placements:
            late = (placed.uid, placed.epoch) in self.buried
            for port in () if late else placed.wire.ports:
                key = (placed.node, port.protocol, port.node)
                demand(key not in claimed, f"S7: port {key} is claimed twice")
                claimed.add(key)

    def _capacity(self, snapshot: Snapshot, caps: dict[str, Limits]) -> None:
        """What is given to a machine was free; what comes back from the dead asks nobody."""
        used: dict[str, Limits] = {}
        given: dict[PlacementId, Limits] = {}
        grown: set[str] = set()
        for placed in snapshot.placements:
            key, mine = (placed.uid, placed.epoch), (placed.wire.memory, placed.wire.cpus)
            if key in self.buried:
                continue
            memory, cpus = used.get(placed.node, (0, 0))
            used[placed.node] = memory + mine[0], cpus + mine[1]
            given[key] = mine
            old = self.given.get(key, (0, 0))
            if placed.stage is Stage.ACTIVE and (mine[0] > old[0] or mine[1] > old[1]):
                grown.add(placed.node)
        for node in sorted(grown):
            old = self.used.get(node, (0, 0))
            for what, now, then, limit in zip(
                ("memory", "cpus"), used[node], old, caps.get(node, used[node]), strict=True
            ):
                demand(now <= max(limit, then), f"S8: {now} of {limit} {what} given out on {node}")
        self.used, self.given = used, given

    def durable(self, snapshot: Snapshot) -> None:
        """Everything acknowledged is there, nothing else is."""
        for key, (document, source) in self.wanted.items():
            item = snapshot.objects.get(key)
            demand(item is not None, f"S4: {key} was acknowledged and is not there")
            assert item is not None
            demand(not item.deleting, f"S4: {key} is being deleted, and nobody asked for it")
            same = document_of(item.manifest) == document and item.source == source
            demand(same, f"S4: {key} is not as acknowledged")
        for key, item in snapshot.objects.items():
            if key not in self.wanted:
                demand(key in self.going, f"S4: nobody asked for {key}")
                demand(item.deleting, f"S4: {key} shall go and does not")
        self.going &= set(snapshot.objects)

    def settle(self, snapshot: Snapshot) -> None:
        """After a submission with a known outcome: the store is what users may rely on."""
        self.wanted = {
            key: (document_of(item.manifest), item.source)
            for key, item in snapshot.objects.items()
            if not item.deleting
        }
        self.going = {key for key, item in snapshot.objects.items() if item.deleting}
