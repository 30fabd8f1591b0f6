"""From submitted manifests to changes of desired state: who owns what, what is new, what goes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from manifests.kinds import Manifest
from manifests.scalars import Uid
from reconciler.core.conflicts import Conflict, addresses, images_wanting, owned, ports
from reconciler.core.model import Key, Object, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One object before and after. `before` None: created; `after` None: marked for deletion.

    `by` is the source that asks for it.
    """

    key: Key
    before: Object | None
    after: Object | None
    by: str = ""


@dataclass(frozen=True, slots=True)
class Merge:
    """What a submission changes, why it cannot be, and why it looks like a mistake."""

    changes: tuple[Change, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    strange: str = ""


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
        if conflict := before and owned(before, source):
            conflicts.append(conflict)
        elif after := _after(before, manifest, source, new_uid, now, sizes):
            changes.append(Change(key=manifest.key, before=before, after=after, by=source))
    if prune:
        kept = {manifest.key for manifest in manifests}
        pruned = (
            item
            for key, item in snapshot.objects.items()
            if item.source == source and key not in kept
        )
        changes += _deletions(pruned, source)
    found = _checked(snapshot, changes, conflicts)
    return replace(found, strange=stranger(snapshot, manifests, source)) if prune else found


def delete(
    snapshot: Snapshot, keys: Iterable[Key], *, source: str, uid: Uid | None = None
) -> Merge:
    """What deleting these objects changes; unknown ones are conflicts.

    With `uid`, only an object of that identity is meant, not another that has its name by now.
    """
    known, unknown = [], []
    for kind, name in keys:
        item = snapshot.objects.get((kind, name))
        if item is None or uid not in (None, item.uid):
            message = f"there is no {kind.lower()} {name!r}"
            unknown.append(Conflict(kind=kind, name=name, message=message))
        else:
            known.append(item)
    return _checked(snapshot, _deletions(known, source), unknown)


def stranger(snapshot: Snapshot, manifests: Sequence[Manifest], source: str) -> str:
    """Why a set looks like another project of the same name: it keeps nothing that the set has.

    Nodes do not count, many projects share them. "" where nothing is strange.
    """
    kept = {manifest.key for manifest in manifests}
    has = [
        item.key
        for item in snapshot.objects.values()
        if item.source == source and not item.deleting and item.key[0] != "Node"
    ]
    if not has or any(key in kept for key in has):
        return ""
    return (
        f"none of the {len(has)} objects of {source} is in this submission, so all would be deleted;"
        " if this is another project, give it a name of its own"
    )


def apply_changes(snapshot: Snapshot, changes: Iterable[Change]) -> Snapshot:
    """The snapshot as it will be: what the store does, for previews and in simulation."""
    objects = dict(snapshot.objects)
    for change in changes:
        if change.after is not None:
            objects[change.key] = change.after
        elif change.before is not None:
            objects[change.key] = replace(change.before, deleting=True)
    return replace(snapshot, objects=objects)


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


def _deletions(objects: Iterable[Object], source: str) -> list[Change]:
    alive = (item for item in objects if not item.deleting)
    return [
        Change(key=item.key, before=item, after=None, by=source)
        for item in sorted(alive, key=lambda item: item.key)
    ]


def _checked(snapshot: Snapshot, changes: list[Change], conflicts: list[Conflict]) -> Merge:
    result = apply_changes(snapshot, changes)
    touched = {change.key for change in changes}
    found = (
        *conflicts,
        *images_wanting(result, touched),
        *addresses(snapshot, result, touched),
        *ports(snapshot, result, touched),
    )
    return Merge(tuple(changes), found)
