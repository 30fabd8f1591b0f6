"""Placements that must go: deleted, to be replaced, or back from the dead."""

from manifests.change import Effect, strongest
from manifests.scalars import Name
from manifests.wire import MachineReport
from reconciler.core.images import not_here
from reconciler.core.model import Object, Placed, Snapshot, Stage
from reconciler.core.passes.draft import Draft, changes_of, demand_of
from reconciler.core.plan import Retire
from reconciler.core.scheduling.place import choose
from reconciler.core.scheduling.room import Demand


def retire(draft: Draft) -> None:
    """What nobody wants any more, or wants otherwise, or what came back from the dead."""
    for placed in list(draft.placed.values()):
        if placed.stage is Stage.ACTIVE and (reason := _why_retire(draft, placed)):
            draft.retire(placed, reason)
    for node, seen in sorted(draft.snapshot.seen.items()):
        for machine in seen.report.machines if seen.report else ():
            _retire_late(draft, node, machine)


def _why_retire(draft: Draft, placed: Placed) -> str:
    machine = draft.machines.get(placed.uid)
    if machine is None or machine.deleting:
        return "deleted"
    node = draft.snapshot.get("Node", placed.node)
    if node is None or node.deleting:
        pinned = "; it is pinned there and will wait" if machine.machine.node == placed.node else ""
        return f"node {placed.node} is being removed{pinned}"
    changes = changes_of(draft.snapshot, machine, placed)
    if strongest(changes) is not Effect.REPLACE:
        return ""
    reason = "; ".join(
        f"{change.field}: {change.why}" for change in changes if change.effect is Effect.REPLACE
    )
    return _if_placeable(draft, machine, placed, f"replace: {reason}")


def _if_placeable(draft: Draft, machine: Object, placed: Placed, reason: str) -> str:
    """A machine that runs is not given up for one that has no place."""
    demand = demand_of(draft.snapshot, machine)
    image = draft.snapshot.get("Image", machine.machine.image)
    if demand is None or image is None:
        return ""
    if missing := not_here(draft.snapshot, image):
        draft.wait(machine, f"cannot be replaced: {missing}", stops=placed.uid)
        return ""
    future = dict(draft.future)
    old = Demand.of(placed.spec, placed.wire.type)
    future[placed.node] = future[placed.node].without(old)
    choice = choose(demand, future.values())
    if choice.node is None:
        draft.wait(machine, f"cannot be replaced: {choice.reason}", stops=placed.uid)
        return ""
    # The place is spoken for: the next machine to be replaced must find another.
    future[choice.node] = future[choice.node].with_machine(machine.name, demand)
    draft.future = future
    return reason


def _retire_late(draft: Draft, node: str, machine: MachineReport) -> None:
    known = draft.placed.get(machine.uid)
    if (known is not None and known.node == node) or machine.uid in draft.late:
        return
    origin, epoch = _gone(draft.snapshot, node, machine)
    if machine.epoch > epoch:
        return
    item = draft.machines.get(machine.uid)
    draft.late[machine.uid] = node
    draft.operations.append(
        Retire(
            name=item.name if item else Name(machine.uid[:8]),
            uid=machine.uid,
            epoch=epoch,
            node=Name(node),
            reason="it appeared after it was removed",
            gone_on=Name(origin),
        )
    )


def _gone(snapshot: Snapshot, node: str, machine: MachineReport) -> tuple[str, int]:
    """(where, up to which epoch) the machine is known to be gone: on this node, or on one that is
    no more and whose host may be this one under another name."""
    here = snapshot.gone.get((node, machine.uid), 0)
    if machine.epoch <= here:
        return node, here
    former = [
        (epoch, name)
        for (name, uid), epoch in snapshot.gone.items()
        if uid == machine.uid and snapshot.get("Node", name) is None
    ]
    epoch, name = max(former, default=(0, node))
    return name, epoch
