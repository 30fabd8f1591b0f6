"""Choosing a node, or explaining why there is none."""

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.core.scheduling.filters import verdict
from reconciler.core.scheduling.policies import DEFAULT, POLICIES
from reconciler.core.scheduling.room import Demand, Room

SHOWN = 5
"""Nodes named in an explanation; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Choice:
    """`node` is None when no node will do; `reason` says why this one, or why none."""

    node: str | None
    reason: str


def choose(demand: Demand, rooms: Iterable[Room], policy: str = DEFAULT) -> Choice:
    judged = [(room, verdict(demand, room)) for room in rooms]
    fitting = [room for room, reasons in judged if not reasons]
    if not fitting:
        return Choice(None, _why_none(demand, judged))
    score = POLICIES[policy]
    best = min(fitting, key=lambda room: (score(room), room.name))
    return Choice(best.name, _why(demand, best, len(fitting), len(judged), policy))


def _why(demand: Demand, best: Room, fitting: int, all_: int, policy: str) -> str:
    if demand.pin:
        return "pinned"
    if all_ == 1:
        return "the only node"
    return f"{policy} ({best.machines}) of {fitting} fitting nodes out of {all_}"


def _why_none(demand: Demand, judged: list[tuple[Room, tuple[str, ...]]]) -> str:
    if not judged:
        return "there is no node; declare one with kind: Node"
    if demand.pin:
        judged = [(room, reasons) for room, reasons in judged if room.name == demand.pin]
        if not judged:
            return f"node {demand.pin} does not exist"
    # Nearest misses first: they are what the user can act on.
    judged = sorted(judged, key=lambda item: (len(item[1]), item[0].name))
    lines = [f"{room.name}: {', '.join(reasons)}" for room, reasons in judged[:SHOWN]]
    more = f" | and {len(judged) - SHOWN} more nodes" if len(judged) > SHOWN else ""
    return "no node fits: " + " | ".join(lines) + more
