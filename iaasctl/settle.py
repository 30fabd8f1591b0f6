"""When is an object as its manifest wants it, and when will it never be? Pure: no clock, no I/O."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from iaasctl.answers import Object
from iaasctl.kinds import BY_NAME, MACHINE
from iaasctl.terminal import safe

Key = tuple[str, str]
"""(kind, name)."""
World = Mapping[str, Sequence[Object]]
"""Objects by plural, of the kinds that were looked at."""


class Target(NamedTuple):
    """An object to wait for: until it is ready, or with `gone` until it no longer exists."""

    kind: str
    name: str
    gone: bool = False


class Status(NamedTuple):
    """How far a target is. `failed`: it will not get there by itself; `detail` says why.

    `stuck`: waits for room or a port; whether that is in vain, only time tells.
    """

    target: Target
    state: str
    detail: str = ""
    node: str = ""
    done: bool = False
    failed: bool = False
    stuck: bool = False

    @property
    def settled(self) -> bool:
        return self.done or self.failed

    @property
    def label(self) -> str:
        kind = BY_NAME.get(self.target.kind)
        return f"{kind.word if kind else safe(self.target.kind)}/{safe(self.target.name)}"


def judge(targets: Iterable[Target], world: World) -> list[Status]:
    """The status of every target, in order."""
    found = {
        (kind.name, str(item.get("name"))): item
        for kind in BY_NAME.values()
        for item in world.get(kind.plural, ())
    }
    return [_status(target, found.get((target.kind, target.name))) for target in targets]


def _status(target: Target, item: Object | None) -> Status:
    if item is None:
        if target.gone:
            return Status(target=target, state="gone", done=True)
        return Status(target=target, state="gone", detail="somebody else deleted it", failed=True)
    state, detail = safe(item.get("state")) or "unknown", safe(item.get("reason"))
    node = safe(item.get("node"))
    if target.gone:
        return Status(target=target, state="deleting", detail=detail, node=node)
    if item.get("ready") is True:
        return Status(target=target, state=state, node=node, done=True)
    status = Status(target=target, state=state, detail=detail, node=node)
    return _machine(status, item) if target.kind == MACHINE.name else status


def _machine(status: Status, item: Object) -> Status:
    if item.get("final") is True:
        detail = f"{status.detail or 'it ended by itself'}; it is not started again by itself"
        return status._replace(failed=True, detail=detail)
    refused = status.detail.startswith("cannot ")
    unplaced = status.state == "pending" and not status.detail.startswith(COMING)
    return status._replace(stuck=refused or unplaced)


COMING = ("waits ", "not placed yet")
"""How reasons begin that name something that is on its way."""
MOVING = {"joining", "removing", "starting", "stopping", "deleting"}


def in_vain(statuses: Sequence[Status], world: World) -> list[Status]:
    """Statuses in which the stuck ones have failed, if nothing moves that could help them."""
    waiting = [status for status in statuses if not status.settled]
    if not all(status.stuck for status in waiting) or _moving(world):
        return list(statuses)
    return [_given_up(status) if status.stuck else status for status in statuses]


def _given_up(status: Status) -> Status:
    why = status.detail or "no reason is known"
    detail = f"cannot be placed: {why}" if status.state == "pending" else why
    return status._replace(failed=True, detail=detail)


def _moving(world: World) -> bool:
    return any(item.get("state") in MOVING for items in world.values() for item in items)
