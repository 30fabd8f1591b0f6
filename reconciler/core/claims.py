"""Which machines of a submission ask for a port that is not to be had, and who has it.

A machine claims its ports on the node where it is or shall be, one without a node on whichever it
will get. A claim of today comes first, then those of the submission by name. What is about to give
its port up is in nobody's way: who comes after it waits until its end is confirmed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from manifests.change import Effect, strongest
from manifests.scalars import Port
from reconciler.core.model import Key, Object, Placed, Snapshot, newest
from reconciler.core.passes.draft import changes_of
from reconciler.core.scheduling.taken import SSH, Holder, PortKey, reserved, strangers

SHOWN = 5
"""Nodes named in an explanation; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """`machine` cannot have the port; `owner` has it, or "" where there are several."""

    machine: Object
    message: str
    owner: str = ""


@dataclass(slots=True)
class Board:
    """Who has what, on the nodes of `result`. `open` are those without a node of their own yet,
    `full` the ports that are free on no node any more, with who has them: more claims come only."""

    result: Snapshot
    placed: dict[str, Placed]
    nodes: dict[str, None]
    claims: dict[tuple[str, PortKey], str] = field(default_factory=dict)
    open: dict[PortKey, list[str]] = field(default_factory=dict)
    full: dict[PortKey, str] = field(default_factory=dict)
    known: dict[str, dict[PortKey, Holder]] = field(default_factory=dict)

    def claim(self, name: str, where: str | None, key: PortKey) -> None:
        if where is None:
            self.open.setdefault(key, []).append(name)
        else:
            self.claims.setdefault((where, key), name)

    def holder(self, node: str, key: PortKey, asking: str) -> Holder | None:
        """Who has the port there, and is not `asking` itself nor about to give it up."""
        if owner := self.claims.get((node, key)):
            return Holder(f"machine {owner}", owner, node) if owner != asking else None
        found = self._known(node).get(key)
        if found is None or not found.machine:
            return found
        # A machine of ours, of another node on this host: it counts while it keeps the port there.
        keeps = self.claims.get((found.node, key)) == found.machine
        return found if keeps and found.machine != asking else None

    def _known(self, node: str) -> dict[PortKey, Holder]:
        if node not in self.known:
            item = self.result.get("Node", node)
            kept = reserved(item) if item else {SSH: "the node's ssh"}
            self.known[node] = strangers(self.result, node) | {
                key: Holder(told) for key, told in kept.items()
            }
        return self.known[node]


def refusals(before: Snapshot, result: Snapshot, touched: set[Key]) -> Iterator[Refusal]:
    """`result` is `before` with the submission merged in, which changes the objects `touched`."""
    live = [item for item in result.of_kind("Machine") if item.machine.ports and not item.deleting]
    if not any(item.key in touched for item in live):
        return
    nodes = {str(node.name): None for node in result.of_kind("Node") if not node.deleting}
    board = Board(result, newest(result.placements), nodes)
    asking: list[tuple[Object, str | None, Port]] = []
    for item in live:
        where = _where(board, item)
        had = _had(board, before, item) if item.key in touched else None
        for port in item.machine.ports:
            key = (port.protocol, port.node)
            if had is None or (where, key) in had:
                board.claim(item.name, where, key)
            else:
                asking.append((item, where, port))
    for item, where, port in asking:
        if found := _refusal(board, item, where, port):
            yield found


def _where(board: Board, machine: Object) -> str | None:
    """The node that a machine is or shall be on; None while any will do."""
    placed, pin = board.placed.get(machine.uid), machine.machine.node
    if pin is not None or placed is None:
        return pin
    moves = strongest(changes_of(board.result, machine, placed)) is Effect.REPLACE
    return None if moves and placed.spec.ports != machine.machine.ports else placed.node


def _had(board: Board, before: Snapshot, item: Object) -> set[tuple[str | None, PortKey]]:
    """What the machine claimed before the submission."""
    old = before.objects.get(item.key)
    if old is None or old.uid != item.uid:
        return set()
    where = _where(board, old)
    return {(where, (port.protocol, port.node)) for port in old.machine.ports}


def _refusal(board: Board, item: Object, where: str | None, port: Port) -> Refusal | None:
    key = (port.protocol, port.node)
    if where is not None and (holder := board.holder(where, key, item.name)):
        message = f"port {port.node}/{port.protocol} of node {where!r} is taken by {holder.told}"
        return Refusal(item, f"{message}; choose another port or node", holder.told)
    if message := _nowhere(board, where, port):
        return Refusal(item, message)
    board.claim(item.name, where, key)
    return None


def _nowhere(board: Board, where: str | None, port: Port) -> str:
    """Why there is no node left for it, or for those who came first and still have none; "" if
    there is."""
    key = (port.protocol, port.node)
    waiting = board.open.get(key, [])
    if not board.nodes or (where is not None and (not waiting or where not in board.nodes)):
        return ""
    if key not in board.full:
        free = (node for node in board.nodes if board.holder(node, key, "") is None)
        if any(True for _ in islice(free, len(waiting), None)):
            return ""
        board.full[key] = _told(board, key, waiting)
    return f"port {port.node}/{port.protocol} is free on no node: {board.full[key]}; choose another port"


def _told(board: Board, key: PortKey, waiting: list[str]) -> str:
    """Who has a port of all nodes."""
    taken = ((node, board.holder(node, key, "")) for node in board.nodes)
    owners = [f"{node}: {it.told}" for node, it in taken if it]
    owners += [f"machine {name}, which is to be placed" for name in waiting]
    more = f" | and {len(owners) - SHOWN} more" if len(owners) > SHOWN else ""
    return " | ".join(owners[:SHOWN]) + more
