"""Deleted objects of which nothing is left."""

from collections.abc import Callable, Iterable

from reconciler.core.model import Object
from reconciler.core.passes.draft import Draft
from reconciler.core.plan import Forget

SHOWN = 5
"""Machines named in an explanation; the rest is counted."""


def forget(draft: Draft) -> None:
    """Deleted objects of which nothing is left, machines before what they use."""
    forgotten: set[str] = set()
    for kind in ("Machine", "Image", "Node"):
        for item in draft.snapshot.of_kind(kind):
            if not item.deleting:
                continue
            if holder := HOLDERS[kind](draft, item, forgotten):
                draft.wait(item, f"is being deleted; {holder}")
                continue
            forgotten.add(item.uid)
            draft.operations.append(
                Forget(kind=kind, name=item.name, uid=item.uid, reason="nothing of it is left")
            )


def _machine_holder(draft: Draft, item: Object, _: set[str]) -> str:
    placed = draft.placed.get(item.uid)
    if placed is None:
        return ""
    return f"waits until {placed.node} confirms that it is gone{draft.silence(placed.node)}"


def _image_holder(draft: Draft, item: Object, forgotten: set[str]) -> str:
    users = (
        machine.name
        for machine in draft.machines.values()
        if machine.machine.image == item.name and machine.uid not in forgotten
    )
    return _held("machine", users)


def _node_holder(draft: Draft, item: Object, _: set[str]) -> str:
    here = [str(placed.wire.name) for placed in draft.held if placed.node == item.name]
    here += [uid[:8] for uid, node in draft.late.items() if node == item.name]
    held = _held("machine", here)
    silent = draft.silence(item.name).replace(", which", "; it")
    return held + silent if held else ""


def _held(what: str, names: Iterable[str]) -> str:
    found = sorted(names)
    if len(found) < 2:
        return f"{what} {found[0]} still uses it" if found else ""
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{what}s {', '.join(found[:SHOWN])}{more} still use it"


HOLDERS: dict[str, Callable[[Draft, Object, set[str]], str]] = {
    "Machine": _machine_holder,
    "Image": _image_holder,
    "Node": _node_holder,
}
