"""Whose word the agent takes: its cluster's, of no earlier term, for its own node, and none older
than what it has already taken."""

from dataclasses import replace

from manifests.wire import PROTOCOL, Assignment, Exchange


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
    if mine is not None and not same and request.assignment and request.assignment.run:
        raise Refusal(*_stranger(request, mine))
    if mine is None or not same:
        return request.assignment
    if request.term < mine.term:
        raise Refusal("term", f"a controller of term {mine.term} has taken over")
    new = request.assignment
    taken = new if new and new.generation > mine.generation else mine
    return replace(taken, term=request.term)


def _stranger(request: Exchange, mine: Assignment) -> tuple[str, str]:
    if request.cluster != mine.cluster:
        return "cluster", "this agent runs machines of another cluster"
    return "node", f"this agent is node {mine.node} and runs its machines"
