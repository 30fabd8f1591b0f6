"""Rules a node must pass. Each gives "" or the sentence that says why this node will not do.

To add one: a function and its entry in FILTERS.
"""

from collections.abc import Callable, Iterator

from manifests.scalars import Cpus, Memory
from reconciler.core.model import NodeState
from reconciler.core.scheduling.room import Demand, Room

Filter = Callable[[Demand, Room], str]

STATE_REASONS = {
    NodeState.JOINING: "has not reported yet",
    NodeState.UNAVAILABLE: "does not answer",
}


def state(_: Demand, room: Room) -> str:
    return "is being removed" if room.removing else STATE_REASONS.get(room.state, "")


def pin(demand: Demand, room: Room) -> str:
    return "" if demand.pin in (None, room.name) else f"is not {demand.pin}, where it is pinned"


def driver(demand: Demand, room: Room) -> str:
    if room.state is not NodeState.READY:
        return ""  # said by `state`; nothing is known of its engines
    if demand.type not in room.engines:
        return f"has no {demand.type}"
    wrong = room.engines[demand.type]
    return f"its {demand.type} is not usable: {wrong}" if wrong else ""


def capacity(demand: Demand, room: Room) -> str:
    if not room.memory:
        return ""  # capacity is unknown until the node reports
    return "; ".join(_shortages(demand, room))


def _shortages(demand: Demand, room: Room) -> Iterator[str]:
    if (free := room.memory - room.memory_used) < demand.memory:
        yield f"needs {demand.memory} of memory, {Memory(max(free, 0))} of {Memory(room.memory)} is free"
    if (free := room.cpus - room.cpus_used) < demand.cpus:
        yield f"needs {demand.cpus} cpus, {Cpus(max(free, 0))} of {Cpus(room.cpus)} are free"


def port(demand: Demand, room: Room) -> str:
    itself = f"machine {demand.name} on "  # that it is still on another node of this host
    return "; ".join(
        f"port {wanted.node}/{wanted.protocol} is taken by {owner}"
        for wanted in demand.ports
        if (owner := room.ports.get((wanted.protocol, wanted.node)))
        and not owner.startswith(itself)
    )


FILTERS: tuple[Filter, ...] = (pin, state, driver, capacity, port)


def verdict(demand: Demand, room: Room) -> tuple[str, ...]:
    """Every reason against this node; empty when it will do."""
    return tuple(reason for check in FILTERS if (reason := check(demand, room)))
