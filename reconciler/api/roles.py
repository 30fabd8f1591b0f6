"""Who a caller can be, and what that allows: one place, and nothing is allowed that is not said here.

Not here: how anybody proves who they are (`auth`), and which route takes which role (`app.ROUTES`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from manifests.kinds import KINDS
from manifests.problem import printable
from reconciler.core.access import Actor

LONGEST_METHOD = 16
LONGEST_PATH = 200
"""Characters that are written down."""


class Role(StrEnum):
    """ANYBODY has shown no token, and only AGENTs fetch for nodes; the others may ever more."""

    ANYBODY = "anybody"
    AGENT = "agent"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


PEOPLE = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
"""Each may do what those before it may."""

MAY_CHANGE: Mapping[Role, frozenset[str]] = {
    Role.OPERATOR: frozenset({"Image", "Machine"}),
    Role.ADMIN: frozenset(KINDS),
}
"""Kinds of objects. The nodes, and what the brake holds, are the admin's."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`who`: the role, and of a token so much that it can be told from others, but not used."""

    role: Role
    who: str
    peer: str = ""

    def asks(self, method: str, path: str, status: int) -> Actor:
        """For a change or a refusal, answered with `status`."""
        return Actor(
            who=self.who,
            kinds=MAY_CHANGE.get(self.role, frozenset()),
            approves=self.is_a(Role.ADMIN),
            peer=self.peer,
            method=printable(method[:LONGEST_METHOD]),
            path=printable(path[:LONGEST_PATH]),
            status=status,
        )

    def is_a(self, least: Role) -> bool:
        if least is Role.ANYBODY:
            return True
        if self.role not in PEOPLE or least not in PEOPLE:
            return self.role is least
        return PEOPLE.index(self.role) >= PEOPLE.index(least)


UNKNOWN = Caller(Role.ANYBODY, Role.ANYBODY)
