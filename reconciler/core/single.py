"""Changes of one object, as the lab's routes make them: creating is not updating, a machine is started
and stopped, and what others use is not deleted.

Not here: sets of manifests (`desired`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from manifests.kinds import Manifest
from manifests.kinds.machine import MachineSpec, PowerState
from manifests.problem import did_you_mean
from manifests.scalars import Name, Uid
from reconciler.core.conflicts import Conflict
from reconciler.core.desired import Merge, delete, merge
from reconciler.core.model import Key, Object, Snapshot, Stage, newest

LONGEST_NAME = 63
HEXES = 8
SHOWN = 5
"""Nodes named to who asks for another."""


@dataclass(frozen=True, slots=True)
class Version:
    """What a client saw of an object."""

    uid: Uid
    generation: int


def create(
    snapshot: Snapshot,
    manifest: Manifest,
    *,
    source: str,
    uid: Uid,
    now: float,
    sizes: Callable[[str], int],
) -> Merge:
    """A new object with this identity; one that has its name is a conflict."""
    if before := snapshot.objects.get(manifest.key):
        return Merge(conflicts=(_taken(before),))
    if conflict := _nowhere(snapshot, manifest):
        return Merge(conflicts=(conflict,))
    return merge(
        snapshot,
        [manifest],
        source=source,
        prune=False,
        new_uid=lambda: uid,
        now=now,
        sizes=sizes,
    )


def power(snapshot: Snapshot, machine: Object, state: PowerState, *, source: str) -> Merge:
    """Start or stop a machine."""
    if conflict := _not_ours(machine, source, f"declare `state: {state}` there"):
        return Merge(conflicts=(conflict,))
    spec = replace(machine.machine, state=state)
    manifest = replace(machine.manifest, spec=spec)
    return merge(
        snapshot,
        [manifest],
        source=source,
        prune=False,
        new_uid=lambda: machine.uid,
        now=machine.created,
        sizes=lambda _: machine.size,
    )


def remove(snapshot: Snapshot, item: Object, *, source: str) -> Merge:
    """Delete an object that nobody uses."""
    if item.deleting:
        return Merge()
    if conflict := _not_ours(item, source, "remove it there"):
        return Merge(conflicts=(conflict,))
    if users := tuple(USERS[item.manifest.kind](snapshot, item)):
        return Merge(conflicts=users)
    return delete(snapshot, [item.key], source=source, uid=item.uid)


def is_left(snapshot: Snapshot, item: Object) -> bool:
    """Whether something of it is somewhere, so that it can only go once that has."""
    kind, name = item.key
    if kind == "Image":
        return any(machine.machine.image == name for machine in snapshot.of_kind("Machine"))
    return any(
        placed.uid == item.uid if kind == "Machine" else placed.node == name
        for placed in snapshot.placements
    )


def name_for(image: str, uid: Uid) -> Name:
    """The name of a machine that was given none."""
    return Name(f"{image[: LONGEST_NAME - 1 - HEXES]}-{uid[:HEXES]}")


def _nowhere(snapshot: Snapshot, manifest: Manifest) -> Conflict | None:
    """A manifest may name a node that is declared later; who asks for one machine has mistyped it."""
    pin = manifest.spec.node if isinstance(manifest.spec, MachineSpec) else None
    if pin is None or snapshot.get("Node", pin) is not None:
        return None
    names = [str(node.name) for node in snapshot.of_kind("Node")]
    hint = did_you_mean(pin, names) or (
        f"the nodes are {', '.join(names[:SHOWN])}" if names else "add one first"
    )
    message = f"machine {manifest.name!r}: there is no node {pin!r}"
    return Conflict(kind="Machine", name=manifest.name, message=message, hint=hint)


def _taken(before: Object) -> Conflict:
    kind, name = before.key
    what = f"{kind.lower()} {name!r} exists already"
    if before.deleting:
        return _conflict(
            before.key, f"{what} and is being deleted", "try again when it is gone", before
        )
    message = f"{what} and belongs to {before.source}"
    return _conflict(before.key, message, "take another name, or delete it first", before)


def _not_ours(item: Object, source: str, instead: str) -> Conflict | None:
    kind, name = item.key
    if item.deleting:
        return _conflict(item.key, f"{kind.lower()} {name!r} is being deleted", "", item)
    if item.source == source:
        return None
    message = f"{kind.lower()} {name!r} belongs to {item.source}, not to {source}"
    where = item.source.removeprefix("set:")
    how = f" and apply it (--set {where})" if where != item.source else ""
    return _conflict(item.key, message, f"{instead}{how}", item)


def _machines_of_image(snapshot: Snapshot, image: Object) -> Iterator[Conflict]:
    for machine in snapshot.of_kind("Machine"):
        if machine.machine.image == image.name and not machine.deleting:
            message = f"image {image.name!r} is in use by machine {machine.name!r}"
            yield _conflict(machine.key, message, "delete its machines first", machine)


def _machines_of_node(snapshot: Snapshot, node: Object) -> Iterator[Conflict]:
    placed = newest(snapshot.placements)
    hint = f"`iaasctl delete node {node.name}` removes it all the same, and its machines from it"
    for machine in snapshot.of_kind("Machine"):
        here = placed.get(machine.uid)
        if machine.deleting:
            continue
        if here and here.node == node.name and here.stage is Stage.ACTIVE:
            message = f"machine {machine.name!r} is on node {node.name!r}"
        elif machine.machine.node == node.name:
            message = f"machine {machine.name!r} is to be on node {node.name!r}"
        else:
            continue
        yield _conflict(machine.key, message, hint, machine)


def _nobody(_: Snapshot, __: Object) -> Iterator[Conflict]:
    return iter(())


USERS: dict[str, Callable[[Snapshot, Object], Iterator[Conflict]]] = {
    "Image": _machines_of_image,
    "Node": _machines_of_node,
    "Machine": _nobody,
}


def _conflict(key: Key, message: str, hint: str, owner: Object) -> Conflict:
    return Conflict(kind=key[0], name=key[1], message=message, hint=hint, owner=owner.source)
