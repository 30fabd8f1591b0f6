"""What a calm cluster must look like: every machine as desired, nothing else, everything said truly.

It shares no code with the passes: the scheduler's verdicts are worked out anew.
"""

from __future__ import annotations

import json

from hyper.core.model import Instance, Life
from manifests.kinds.image import MachineType
from manifests.kinds.machine import PowerState, RestartPolicy
from manifests.scalars import Port
from reconciler.core.model import Object, Placed, Snapshot, Stage
from tests.simulation.host import SimImages
from tests.simulation.node import CPUS, MEMORY, SimNode
from tests.simulation.oracle import demand
from tests.simulation.truth import TruthEngine
from tests.simulation.users import Request, call
from tests.simulation.world import World


def check(world: World) -> None:
    """Raises Violation."""
    assert world.controller is not None
    snapshot = world.controller.cluster.snapshot()
    world.compare_view(world.controller.store.snapshot())
    for item in snapshot.objects.values():
        demand(not item.deleting, f"S9: {item.key} is still being deleted")
    placed: dict[str, Placed] = {it.uid: it for it in snapshot.placements}
    for it in placed.values():
        demand(it.stage is Stage.ACTIVE, f"S9: {it.wire.name}@{it.epoch} is still leaving")
    for machine in snapshot.of_kind("Machine"):
        check_machine(world, snapshot, machine, placed.get(machine.uid))
    for node in world.nodes:
        check_host(world, node, placed)
    check_views(world, placed)


def check_machine(world: World, snapshot: Snapshot, machine: Object, placed: Placed | None) -> None:
    name = machine.name
    if placed is None:
        node = fitting(snapshot, machine)
        demand(node == "", f"L1: {name} fits on {node} and is not placed")
        return
    host = host_of(world, snapshot, placed)
    found = host.engines[placed.wire.type].of(placed.uid)
    if not up_to_date(snapshot, machine, placed):
        waits = snapshot.waits.get(machine.key, "")
        demand(
            waits.startswith("cannot"), f"L1: {name} runs with an old spec, and waits for nothing"
        )
    wanted = placed.wire.state
    if not found:
        demand(wanted is PowerState.STOPPED, f"L1: {name} shall run on {placed.node}, is not there")
        return
    demand(len(found) == 1, f"S1: {name} has {len(found)} instances on {placed.node}")
    check_instance(host.engines[placed.wire.type], placed, found[0])


def up_to_date(snapshot: Snapshot, machine: Object, placed: Placed) -> bool:
    image = snapshot.objects["Image", machine.machine.image].image
    return placed.spec == machine.machine and placed.wire.image.sha256 == image.sha256


def check_instance(engine: TruthEngine, placed: Placed, it: Instance) -> None:
    wire = placed.wire
    head = f"L1: {wire.name}@{wire.epoch} on {placed.node}"
    demand(it.epoch == wire.epoch, f"{head} is there as epoch {it.epoch}")
    demand(it.digest == wire.digest, f"{head} is another instance than wanted")
    if wire.state is PowerState.STOPPED:
        demand(it.life is Life.STOPPED, f"{head} shall be stopped and is {it.life}")
        return
    if it.life is Life.PAUSED:
        return  # by somebody outside, who has a reason
    limits = (it.memory, it.cpus) == (wire.memory, wire.cpus)
    if it.life is Life.STOPPED:
        demand(may_rest(engine, placed, it), f"{head} shall run: {it.ended}, {wire.restart}")
    demand(limits, f"{head} has other limits than wanted")


def may_rest(engine: TruthEngine, placed: Placed, it: Instance) -> bool:
    """Whether its restart policy lets an ended machine be: it ended by itself, not by our doing."""
    policy = placed.wire.restart
    by_itself = it.ran and it.handle in engine.ended_outside
    return by_itself and (
        policy is RestartPolicy.NEVER or (policy is RestartPolicy.ON_FAILURE and it.clean)
    )


def host_of(world: World, snapshot: Snapshot, placed: Placed) -> SimNode:
    return world.by_address[snapshot.objects["Node", placed.node].node.address]


def fitting(snapshot: Snapshot, machine: Object) -> str:
    """The first node that a machine without a place would fit on."""
    image = snapshot.objects["Image", machine.machine.image].image
    spec = machine.machine
    assert spec.type in (None, image.type)
    for node in snapshot.of_kind("Node"):
        here = [it for it in snapshot.placements if it.node == node.name]
        capacity = node.node.capacity
        memory = (capacity.memory or MEMORY) - sum(it.wire.memory for it in here)
        cpus = (capacity.cpus or CPUS) - sum(it.wire.cpus for it in here)
        taken = {(port.protocol, port.node) for it in here for port in it.wire.ports}
        free = not taken & {(port.protocol, port.node) for port in spec.ports}
        fits = memory >= spec.memory and cpus >= spec.cpus and free
        if fits and spec.node in (None, node.name):
            return str(node.name)
    return ""


def check_host(world: World, host: SimNode, placed: dict[str, Placed]) -> None:
    """Nothing is there but what shall be; strangers are as they were."""
    ports: dict[Port, tuple[str, int]] = {}
    for type_, engine in host.engines.items():
        for it in engine.ours():
            mine = placed.get(it.uid)
            demand(
                mine is not None and mine.epoch == it.epoch and mine.wire.type is type_,
                f"S9: {it.name}@{it.epoch} is left on {host.host}",
            )
            assert mine is not None
            serves = it.life is Life.RUNNING and mine.wire.state is PowerState.RUNNING
            if type_ is MachineType.LIBVIRT and serves:
                ports |= {port: (it.ip, port.machine) for port in mine.wire.ports}
        for handle, stranger in world.oracle.strangers.items():
            if handle[0] == host.host and stranger.type is type_:
                known = engine.named(stranger.name)
                demand(known is not None and known[1] == stranger, "S10: a stranger was changed")
        for it in engine.ours():
            here = host.disk.images.get(it.image)
            demand(here or type_ is MachineType.DOCKER, f"S12: {it.name} has lost what it rests on")
    held = sum(it.held for it in SimImages(host).stock())
    demand(held <= host.cache, f"S12: the cache of {host.host} has {held} of {host.cache} bytes")
    published = {port: (target.ip, target.port) for port, target in host.published.items()}
    demand(published == ports, f"S9: {host.host} publishes {published}, not {ports}")


def check_views(world: World, placed: dict[str, Placed]) -> None:
    """The API says of each machine what the engines know of it."""
    assert world.controller is not None
    _, body = call(world.controller.app, Request("GET", "/iaas/machines"))
    snapshot = world.controller.cluster.snapshot()
    for machine in json.loads(body):
        it = placed.get(machine["id"])
        state, running = machine["state"], False
        if it is not None:
            engine = host_of(world, snapshot, it).engines[it.wire.type]
            running = bool(engine.running(it.uid))
        head = f"S19: {machine['name']} is shown {state} ({machine['reason']})"
        demand((state == "running") is running, f"{head}, it runs: {running}")
        demand(state not in ("unknown", "starting", "stopping", "deleting"), head)
