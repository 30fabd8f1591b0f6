"""The lab's requests at the desk: one object made, started, stopped or removed.

Not here: sets of manifests (`submit`), the lab's JSON (`core.lab`), what a change means (`core.single`).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from manifests.kinds import Manifest
from manifests.kinds.machine import MachineSpec, PowerState
from manifests.scalars import Uid
from manifests.validate import parse
from reconciler.core import single
from reconciler.core.access import Actor
from reconciler.core.desired import Change, Merge
from reconciler.core.model import Object, Snapshot
from reconciler.core.single import Version
from reconciler.store import KeyUse
from reconciler.submit import API, Desk, Gone, Invalid, Outdated, Refused

Versions = Collection[Version] | None
"""Of an object, those with which a change is still meant; None: any."""
UNNAMED = "unnamed"


class KeyReused(Refused):
    """The idempotency key was used for something else."""


class KeySpent(Refused):
    """What it made is gone."""


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key, and a digest of all that is asked for with it."""

    text: str
    digest: str


@dataclass(frozen=True, slots=True)
class Made:
    """`again`: by an earlier request with the same key."""

    item: Object
    again: bool = False


def create(desk: Desk, document: dict[str, Any], *, by: Actor, key: Key | None = None) -> Made:
    """Store one new object; a machine without a name gets one.

    Raises Refused, StoreError, ImageError.
    """
    metadata = {"name": UNNAMED, **document["metadata"]}
    manifest, faults = parse(document | {"metadata": metadata})
    if manifest is None or faults:
        raise Invalid([(0, fault) for fault in faults])
    unnamed = "name" not in document["metadata"]
    if not key or not desk.key_use(key.text):
        (manifest,) = desk.take_files([manifest])
    wanted = manifest

    def merged(snapshot: Snapshot) -> Merge:
        if key and desk.key_use(key.text):
            return Merge()
        uid, found = _identified(desk, snapshot, wanted, unnamed)
        desk.check_images(snapshot, [found])
        return single.create(
            snapshot, found, source=API, uid=uid, now=desk.clock(), sizes=desk.library.size
        )

    def store(snapshot: Snapshot, result: Merge) -> Made:
        if key and not result.changes:
            return Made(_made_before(desk, snapshot, key), again=True)
        (change,) = result.changes
        assert change.after is not None
        also = [_use(key, change.after, desk.clock())] if key else []
        desk.write(snapshot.revision, result.changes, API, by, also)
        return Made(change.after)

    return desk.in_turn(merged, store, by)


def power(desk: Desk, item: Object, state: PowerState, *, by: Actor, seen: Versions) -> None:
    """Start or stop a machine. Raises Refused, StoreError."""
    _change(desk, lambda now: single.power(now, _still(now, item, seen), state, source=API), by)


def remove(desk: Desk, item: Object, *, by: Actor, seen: Versions) -> None:
    """Mark an object that nobody uses for deletion. Raises Refused, StoreError."""
    _change(desk, lambda now: single.remove(now, _still(now, item, seen), source=API), by)


def _change(desk: Desk, merged: Callable[[Snapshot], Merge], by: Actor) -> Sequence[Change]:
    """A change of one object, which stops one machine at most: the brake has nothing to say."""

    def store(snapshot: Snapshot, result: Merge) -> Sequence[Change]:
        desk.write(snapshot.revision, result.changes, API, by)
        return result.changes

    return desk.in_turn(merged, store, by)


def _identified(
    desk: Desk, snapshot: Snapshot, manifest: Manifest, unnamed: bool
) -> tuple[Uid, Manifest]:
    """With an identity, and a name made from it where it has none."""
    while True:
        uid = desk.new_uid()
        if not unnamed:
            return uid, manifest
        assert isinstance(manifest.spec, MachineSpec)
        named = replace(manifest, name=single.name_for(manifest.spec.image, uid))
        if named.key not in snapshot.objects:
            return uid, named


def _use(key: Key, item: Object, at: float) -> KeyUse:
    return KeyUse(key=key.text, digest=key.digest, kind=item.key[0], uid=item.uid, at=at)


def _made_before(desk: Desk, snapshot: Snapshot, key: Key) -> Object:
    use = desk.key_use(key.text)
    if use is None or use.digest != key.digest:
        raise KeyReused("this idempotency key was used for another request")
    for item in snapshot.objects.values():
        if item.uid == use.uid:
            return item
    raise KeySpent(f"the {use.kind.lower()} that was made with this idempotency key is gone")


def _still(snapshot: Snapshot, item: Object, seen: Versions) -> Object:
    """The object as it is now. Raises Gone, Outdated."""
    kind, name = item.key
    now = snapshot.objects.get(item.key)
    if now is None or now.uid != item.uid:
        raise Gone(f"there is no {kind.lower()} {name!r}")
    if seen is not None and Version(now.uid, now.generation) not in seen:
        raise Outdated(f"{kind.lower()} {name!r} has changed since (generation {now.generation})")
    return now
