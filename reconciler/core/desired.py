"""From submitted manifests to changes of desired state: who owns what, what is new, what goes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from manifests.kinds import Manifest
from manifests.scalars import Uid
from reconciler.core.model import Key, Object, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One object before and after. `before` None: created; `after` None: marked for deletion."""

    key: Key
    before: Object | None
    after: Object | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Why a set cannot be applied: an object of another owner, in use, or on its way out."""

    kind: str
    name: str
    message: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Merge:
    changes: tuple[Change, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


def merge(
    snapshot: Snapshot,
    manifests: Sequence[Manifest],
    *,
    source: str,
    prune: bool,
    new_uid: Callable[[], Uid],
    now: float,
    sizes: Callable[[str], int] = lambda _: 0,
) -> Merge:
    """What applying `manifests` as `source` changes; with `prune`, what else `source` owns goes.

    `sizes` tells the size of an image's bytes by its sha256.
    """
    changes, conflicts = [], []
    for manifest in manifests:
        before = snapshot.objects.get(manifest.key)
        if conflict := before and _owned(before, source):
            conflicts.append(conflict)
        elif after := _after(before, manifest, source, new_uid, now, sizes):
            changes.append(Change(key=manifest.key, before=before, after=after))
    if prune:
        kept = {manifest.key for manifest in manifests}
        changes += _deletions(
            item
            for key, item in snapshot.objects.items()
            if item.source == source and key not in kept
        )
    return _checked(snapshot, changes, conflicts)


def delete(snapshot: Snapshot, keys: Iterable[Key]) -> Merge:
    """What deleting these objects changes; unknown ones are conflicts."""
    unknown = [
        Conflict(kind=kind, name=name, message=f"there is no {kind.lower()} {name!r}")
        for kind, name in keys
        if (kind, name) not in snapshot.objects
    ]
    known = [snapshot.objects[key] for key in keys if key in snapshot.objects]
    return _checked(snapshot, _deletions(known), unknown)


def apply_changes(snapshot: Snapshot, changes: Iterable[Change]) -> Snapshot:
    """The snapshot as it will be: what the store does, for previews and in simulation."""
    objects = dict(snapshot.objects)
    for change in changes:
        if change.after is not None:
            objects[change.key] = change.after
        elif change.before is not None:
            objects[change.key] = replace(change.before, deleting=True)
    return replace(snapshot, objects=objects)


def _owned(before: Object, source: str) -> Conflict | None:
    kind, name = before.key
    if before.deleting:
        message = f"{kind.lower()} {name!r} is being deleted; apply again when it is gone"
        return Conflict(kind=kind, name=name, owner=before.source, message=message)
    if before.source != source:
        message = (
            f"{kind.lower()} {name!r} belongs to {before.source}, not to {source};"
            " change it there, or delete it there first"
        )
        return Conflict(kind=kind, name=name, owner=before.source, message=message)
    return None


def _after(
    before: Object | None,
    manifest: Manifest,
    source: str,
    new_uid: Callable[[], Uid],
    now: float,
    sizes: Callable[[str], int],
) -> Object | None:
    size = sizes(sha256) if (sha256 := getattr(manifest.spec, "sha256", None)) else 0
    if before is None:
        return Object(
            uid=new_uid(), source=source, manifest=manifest, created=round(now, 3), size=size
        )
    if before.manifest == manifest:
        return None
    return replace(before, manifest=manifest, generation=before.generation + 1, size=size)


def _deletions(objects: Iterable[Object]) -> list[Change]:
    alive = (item for item in objects if not item.deleting)
    return [
        Change(key=item.key, before=item, after=None)
        for item in sorted(alive, key=lambda item: item.key)
    ]


def _checked(snapshot: Snapshot, changes: list[Change], conflicts: list[Conflict]) -> Merge:
    result = apply_changes(snapshot, changes)
    touched = {change.key for change in changes}
    return Merge(tuple(changes), (*conflicts, *_dangling(result, touched)))


def _dangling(result: Snapshot, touched: set[Key]) -> Iterable[Conflict]:
    """Machines whose image is missing, of another type, or about to go."""
    for machine in result.of_kind("Machine"):
        if machine.deleting:
            continue
        key = ("Image", str(machine.machine.image))
        image = result.objects.get(key)
        if machine.key not in touched and key not in touched:
            continue
        if message := _image_problem(machine, image, held=machine.key not in touched):
            kind, name = machine.key if machine.key in touched else key
            yield Conflict(kind=kind, name=name, message=message)


def _image_problem(machine: Object, image: Object | None, *, held: bool) -> str:
    """`held`: the machine was there before its image was to be deleted."""
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
    return ""
