"""Whose word the agent takes: its cluster's, of no earlier term, for its own node, and none older
than what it has already taken."""

from dataclasses import replace

from manifests.kinds.machine import PowerState
from manifests.wire import PROTOCOL, Assignment, Exchange, Placement, Tombstone


class Refusal(Exception):
    """The agent does not take this exchange; `code` is one word for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def admit(request: Exchange, mine: Assignment | None, *, vacant: bool) -> Assignment | None:
    """The assignment to go by after `request`; None while there is none. Raises Refusal.

    A `vacant` agent, one that has and shall have no machines, may change its cluster and name, but
    not by an old word that comes late: whoever meets it anew has nothing to run on it yet.
    """
    if request.protocol != PROTOCOL:
        raise Refusal("protocol", f"this agent speaks protocol {PROTOCOL}")
    same = mine is not None and (request.cluster, request.node) == (mine.cluster, mine.node)
    if mine is not None and not same and not vacant:
        raise Refusal(*_stranger(request, mine))
    new = request.assignment
    if new and (new.cluster, new.node) != (request.cluster, request.node):
        raise Refusal("cluster", "the assignment is another's than the request's")
    if mine is not None and not same and request.assignment and request.assignment.run:
        raise Refusal(*_stranger(request, mine))
    new = request.assignment
    if new and (new.cluster, new.node) != (request.cluster, request.node):
        raise Refusal("cluster", "the assignment is another's than the request's")
    if mine is None or not same:
        return request.assignment
    if request.term < mine.term:
        raise Refusal("term", f"a controller of term {mine.term} has taken over")
    taken = new if new and new.generation > mine.generation else mine
    if new and new.generation == mine.generation:
        taken = replace(taken, publisher=new.publisher)  # a setting of the node, of no generation
    return replace(taken, term=request.term)


def _stranger(request: Exchange, mine: Assignment) -> tuple[str, str]:
    if request.cluster != mine.cluster:
        return "cluster", "this agent runs machines of another cluster"
    return "node", f"this agent is node {mine.node} and runs its machines"


def roles_of(assignment: Assignment | None) -> dict[str, Placement | Tombstone]:
    """What becomes of each machine: it is here, or it leaves."""
    if assignment is None:
        return {}
    leaving: dict[str, Placement | Tombstone] = {it.uid: it for it in assignment.leaving}
    return leaving | {it.uid: it for it in assignment.run}


def changed_roles(before: Assignment | None, after: Assignment) -> set[str]:
    """The machines of which something else is wanted than before."""
    old = roles_of(before)
    return {uid for uid, role in roles_of(after).items() if role != old.get(uid)}


def halted_under(before: tuple[str, ...], taken: Assignment) -> tuple[str, ...]:
    """Machines to be started whatever their restart policy says, once they are wanted running:
    those the agent stopped, and those that are wanted stopped now."""
    return tuple(
        item.uid for item in taken.run if item.uid in before or item.state is PowerState.STOPPED
    )
