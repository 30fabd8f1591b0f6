"""Placements whose machine changed in a way that its node can follow."""

from manifests.change import Effect, strongest
from reconciler.core.model import Object, Placed, Stage
from reconciler.core.passes.draft import Draft, changes_of
from reconciler.core.plan import Update
from reconciler.core.scheduling.filters import verdict
from reconciler.core.scheduling.room import Demand
from reconciler.core.wiring import placement_for


def update(draft: Draft) -> None:
    """What can change where it is."""
    for placed in list(draft.placed.values()):
        machine = draft.machines.get(placed.uid)
        if machine and placed.stage is Stage.ACTIVE and placed.spec != machine.machine:
            _update(draft, placed, machine)


def _update(draft: Draft, placed: Placed, machine: Object) -> None:
    image = draft.snapshot.get("Image", machine.machine.image)
    changes = changes_of(draft.snapshot, machine, placed)
    if image is None or strongest(changes) is Effect.REPLACE:
        return
    room = draft.rooms[placed.node].without(Demand.of(placed.spec, placed.wire.type))
    demand = Demand.of(machine.machine, placed.wire.type, machine.name)
    fields = ", ".join(change.field for change in changes) or "name of the image"
    if not shrinks(placed, demand) and (reasons := verdict(demand, room)):
        draft.wait(machine, f"cannot change {fields}: {placed.node} {', '.join(reasons)}")
        return
    draft.rooms[placed.node] = room.with_machine(machine.name, demand)
    draft.operations.append(
        Update(
            node=placed.node,
            spec=machine.machine,
            wire=placement_for(machine, image, placed.epoch),
            reason=fields,
            restart=strongest(changes) is Effect.RESTART,
        )
    )


def shrinks(placed: Placed, demand: Demand) -> bool:
    """Whether the machine asks for no more than it has: then it needs nobody's leave."""
    return (
        demand.memory <= placed.wire.memory
        and demand.cpus <= placed.wire.cpus
        and set(demand.ports) <= set(placed.wire.ports)
    )
