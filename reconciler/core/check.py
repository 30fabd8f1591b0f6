"""An independent look at a plan before it is carried out: it shares no code with the passes.

`check` finds what must never be; a plan with violations is refused whole. `brake` finds plans that
would stop more running machines at once than anybody is likely to mean.
"""

from collections.abc import Iterator
from typing import TypeVar

from manifests.kinds.machine import PowerState
from reconciler.core.model import Placed, Snapshot, Stage
from reconciler.core.plan import Forget, Operation, Place, Plan, Release, Retire, Update
from reconciler.core.scheduling.taken import PortKey


def check(snapshot: Snapshot, plan: Plan) -> tuple[str, ...]:
    """The invariants that `plan` would break, as sentences; normally none."""
    before: Before = {(placed.uid, placed.epoch): placed for placed in snapshot.placements}
    return tuple(message for finder in CHECKS for message in finder(snapshot, plan, before))


T = TypeVar("T")
Before = dict[tuple[str, int], Placed]


def one_placement(snapshot: Snapshot, plan: Plan, before: Before) -> Iterator[str]:
    """A machine has at most one placement that is not gone."""
    released = {(op.uid, op.epoch) for op in _of(plan, Release)}
    held = {uid for uid, epoch in before if (uid, epoch) not in released}
    for place in _of(plan, Place):
        if place.wire.uid in held:
            yield f"{place.wire.name} would be placed twice"
        held.add(place.wire.uid)


def epochs_grow(snapshot: Snapshot, plan: Plan, before: Before) -> Iterator[str]:
    highest: dict[str, int] = {}
    for uid, epoch in [(uid, epoch) for (_, uid), epoch in snapshot.gone.items()] + list(before):
        highest[uid] = max(epoch, highest.get(uid, 0))
    for place in _of(plan, Place):
        if place.wire.epoch <= highest.get(place.wire.uid, 0):
            yield f"epoch {place.wire.epoch} of {place.wire.name} is not new"


def known_only(snapshot: Snapshot, plan: Plan, before: Before) -> Iterator[str]:
    """Only what we placed is retired, updated or released, once, and only from the right stage."""
    done: set[tuple[str, int]] = set()
    for op in plan.operations:
        if isinstance(op, Release | Retire):
            key, node = (op.uid, op.epoch), op.node
        elif isinstance(op, Update):
            key, node = (op.wire.uid, op.wire.epoch), op.node
        else:
            continue
        if key in done:
            yield f"{op}: its placement is named twice"
        done.add(key)
        placed = before.get(key)
        late = isinstance(op, Retire) and _late(snapshot, op)
        if not late and (placed is None or placed.node != node):
            yield f"{op}: there is no such placement"
        elif placed and (placed.stage is Stage.LEAVING) is not isinstance(op, Release):
            yield f"{op}: its placement is {placed.stage}"


def _late(snapshot: Snapshot, op: Retire) -> bool:
    return snapshot.gone.get((op.gone_on or op.node, op.uid)) == op.epoch


def ports_unique(snapshot: Snapshot, plan: Plan, before: Before) -> Iterator[str]:
    """No port is claimed that another has; who has one already is not the plan's doing."""
    freed = {(op.uid, op.epoch) for op in _of(plan, Release)}
    freed |= {(op.wire.uid, op.wire.epoch) for op in _of(plan, Update)}
    taken: dict[tuple[str, PortKey], str] = {
        (placed.node, (port.protocol, port.node)): placed.uid
        for key, placed in before.items()
        if key not in freed
        for port in placed.wire.ports
    }
    added = (op for op in plan.operations if isinstance(op, Place | Update))
    for op in added:
        for port in op.wire.ports:
            owner = taken.setdefault((op.node, (port.protocol, port.node)), op.wire.uid)
            if owner != op.wire.uid:
                yield f"port {port.node}/{port.protocol} on {op.node} would have two owners"


def nothing_left(snapshot: Snapshot, plan: Plan, before: Before) -> Iterator[str]:
    """An object is forgotten only when it was deleted and no placement of it remains."""
    released = {(op.uid, op.epoch) for op in plan.operations if isinstance(op, Release)}
    left = {uid for uid, epoch in before if (uid, epoch) not in released}
    for op in _of(plan, Forget):
        item = snapshot.get(op.kind, op.name)
        if item is None or not item.deleting or op.uid in left:
            yield f"{op}: something of it is left"


def bytes_here(snapshot: Snapshot, plan: Plan, before: Before) -> Iterator[str]:
    """No machine is placed whose node would find no bytes to start it from."""
    for place in _of(plan, Place):
        image = snapshot.get("Image", place.spec.image)
        if image and image.image.url is not None and not image.size:
            yield f"{place.wire.name} would be placed before the bytes of {image.name} are here"


CHECKS = (one_placement, epochs_grow, known_only, ports_unique, nothing_left, bytes_here)


def _of(plan: Plan, kind: type[T]) -> list[T]:
    return [op for op in plan.operations if isinstance(op, kind)]


def allowed(snapshot: Snapshot) -> int:
    """How many running machines one step may stop without asking: 3, or 10 % where that is more."""
    running = sum(1 for placed in snapshot.placements if _runs(placed))
    return max(3, running // 10)


def brake(snapshot: Snapshot, now: Plan, then: Plan) -> str:
    """Why a submission needs approval: what it adds to the machines that would be stopped.

    `now` is the plan without it, `then` with it; "" when it may go ahead.
    """
    extra = stopped(snapshot, then) - stopped(snapshot, now)
    limit = allowed(snapshot)
    if len(extra) <= limit:
        return ""
    return (
        f"this would stop, restart, replace or delete {len(extra)} running machines,"
        f" more than {limit} need your word"
    )


def stopped(snapshot: Snapshot, plan: Plan) -> frozenset[str]:
    """The uids of running machines that the plan stops, restarts, replaces or deletes, or will as
    soon as it can."""
    running = {str(placed.uid) for placed in snapshot.placements if _runs(placed)}
    waiting = {str(wait.stops) for wait in plan.waits if wait.stops}
    return frozenset(running & ({_stops(op) for op in plan.operations} | waiting))


def _stops(op: Operation) -> str:
    if isinstance(op, Retire):
        return op.uid
    if isinstance(op, Update) and (op.restart or op.spec.state is PowerState.STOPPED):
        return op.wire.uid
    return ""


def _runs(placed: Placed) -> bool:
    return placed.stage is Stage.ACTIVE and placed.spec.state is PowerState.RUNNING
