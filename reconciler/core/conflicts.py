"""Why a submission cannot be: objects of another owner, images that do not fit, two nodes at one
address, ports that others have. Each finding names the object and what to do."""

from collections.abc import Iterator
from dataclasses import dataclass

from manifests.checks import unfit
from reconciler.core.claims import refusals
from reconciler.core.model import Key, Object, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Why a set cannot be applied: an object of another owner, in use, or on its way out."""

    kind: str
    name: str
    message: str
    owner: str = ""
    hint: str = ""


def owned(before: Object, source: str) -> Conflict | None:
    """Why `source` may not change this object now; None if it may."""
    kind, name = before.key
    if before.deleting:
        message = f"{kind.lower()} {name!r} is being deleted; apply again when it is gone"
        return Conflict(kind=kind, name=name, owner=before.source, message=message)
    if before.source != source:
        message = f"{kind.lower()} {name!r} belongs to {before.source}, not to {source}; {_how(before.source)}"
        return Conflict(kind=kind, name=name, owner=before.source, message=message)
    return None


def _how(source: str) -> str:
    kind, _, name = source.partition(":")
    if kind == "dir":
        return "change it in that watched directory (iaasctl get sources)"
    return "to hand it over, apply it as that owner" + (f" (--set {name})" if kind == "set" else "")


def images_wanting(result: Snapshot, touched: set[Key]) -> Iterator[Conflict]:
    """Machines whose image is missing, about to go, or of a type that they do not fit."""
    for machine in result.of_kind("Machine"):
        key = ("Image", str(machine.machine.image))
        if machine.deleting or not touched & {machine.key, key}:
            continue
        image = result.objects.get(key)
        if message := _image_problem(machine, image, held=machine.key not in touched):
            kind, name = machine.key if machine.key in touched else key
            yield Conflict(kind=kind, name=name, message=message)


def _image_problem(machine: Object, image: Object | None, *, held: bool) -> str:
    """`held`: the machine was there before its image was to change."""
    spec = machine.machine
    if image is None:
        return f"machine {machine.name!r} starts from image {spec.image!r}, which does not exist"
    if image.deleting and not held:
        return f"machine {machine.name!r} needs image {spec.image!r}, which is being deleted"
    if image.deleting:
        return f"image {spec.image!r} is in use by machine {machine.name!r}"
    if spec.type not in (None, image.image.type):
        return (
            f"machine {machine.name!r} is of type {spec.type},"
            f" but image {spec.image!r} is for {image.image.type}"
        )
    for fault in unfit(spec, image.image.type, f" (by its image {spec.image!r})"):
        return f"machine {machine.name!r}: {fault.path[-1]}: {fault.message}; {fault.hint}"
    return ""


def addresses(before: Snapshot, result: Snapshot, touched: set[Key]) -> Iterator[Conflict]:
    """Nodes that share an address, or leave theirs while machines run there."""
    owners: dict[str, str] = {}
    busy = {str(placed.node) for placed in before.placements}
    for node in result.of_kind("Node"):
        address = node.node.address
        other = owners.setdefault(address, node.name)
        old = before.get("Node", node.name)
        if other != node.name and touched & {node.key, ("Node", other)}:
            yield _node_conflict(node, f"node {other!r} has the address {address}, too")
        elif old and old.node.address != address and node.name in busy:
            yield _node_conflict(
                node,
                f"node {node.name!r} has machines at {old.node.address}; a host at another address"
                " is another node: declare it under a name of its own",
            )


def ports(before: Snapshot, result: Snapshot, touched: set[Key]) -> Iterator[Conflict]:
    """Machines that ask for a port that is not to be had."""
    for found in refusals(before, result, touched):
        kind, name = found.machine.key
        message = f"machine {name!r}: {found.message}"
        yield Conflict(kind=kind, name=name, message=message, owner=found.owner)


def _node_conflict(node: Object, message: str) -> Conflict:
    return Conflict(kind="Node", name=node.name, message=message)
