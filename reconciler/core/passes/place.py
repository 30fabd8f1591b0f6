"""Machines without a placement."""

from manifests.scalars import Name
from reconciler.core.images import not_here
from reconciler.core.model import Object, Snapshot, Stage
from reconciler.core.passes.draft import Draft, demand_of
from reconciler.core.plan import Place
from reconciler.core.scheduling.place import choose
from reconciler.core.wiring import placement_for


def place(draft: Draft) -> None:
    """Machines without a placement get a node, in the order of their names."""
    epochs = last_epochs(draft.snapshot)
    for machine in draft.machines.values():
        if machine.deleting:
            continue
        placed = draft.placed.get(machine.uid)
        where = draft.late.get(machine.uid) if placed is None else placed.node
        if where is None:
            _place(draft, machine, epochs.get(machine.uid, 0) + 1)
        elif placed is None or placed.stage is Stage.LEAVING:
            silent = draft.silence(where)
            draft.wait(
                machine, f"waits until {where} confirms that its old instance is gone{silent}"
            )


def last_epochs(snapshot: Snapshot) -> dict[str, int]:
    """The highest epoch ever placed, by uid: of what is gone and of what is there."""
    epochs: dict[str, int] = {}
    known = [(uid, epoch) for (_, uid), epoch in snapshot.gone.items()]
    for uid, epoch in known + [(str(item.uid), item.epoch) for item in snapshot.placements]:
        epochs[uid] = max(epoch, epochs.get(uid, 0))
    return epochs


def _place(draft: Draft, machine: Object, epoch: int) -> None:
    demand = demand_of(draft.snapshot, machine)
    image = draft.snapshot.get("Image", machine.machine.image)
    if demand is None or image is None:
        draft.wait(machine, f"image {machine.machine.image} does not exist")
        return
    if reason := not_here(draft.snapshot, image):
        draft.wait(machine, reason)
        return
    choice = choose(demand, draft.rooms.values())
    if choice.node is None:
        draft.wait(machine, choice.reason)
        return
    draft.rooms[choice.node] = draft.rooms[choice.node].with_machine(machine.name, demand)
    draft.operations.append(
        Place(
            node=Name(choice.node),
            spec=machine.machine,
            wire=placement_for(machine, image, epoch),
            reason=choice.reason,
        )
    )
