"""Who asks for a change, and which objects they may change. Not here: how anybody proves who they are."""

from collections.abc import Iterable
from dataclasses import dataclass

from manifests.kinds import KINDS
from reconciler.core.conflicts import Conflict
from reconciler.core.desired import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """`who` is written down, so it holds no secret. `kinds` of objects may be created, changed and
    deleted; `approves`: may let through what the brake holds. The rest describes the request, with
    the `status` that it is answered with when the change is stored."""

    who: str
    kinds: frozenset[str]
    approves: bool
    peer: str = ""
    method: str = ""
    path: str = ""
    status: int = 200


def program(source: str) -> Actor:
    """The program itself, in the name of a source."""
    return Actor(who=f"source {source}", kinds=frozenset(KINDS), approves=True)


def forbidden(actor: Actor, changes: Iterable[Change]) -> tuple[Conflict, ...]:
    """The changes that are not the actor's to make."""
    return tuple(
        Conflict(
            kind=kind,
            name=name,
            message=f"{kind.lower()} {name!r} may only be changed by an admin",
        )
        for kind, name in sorted(change.key for change in changes)
        if kind not in actor.kinds
    )
