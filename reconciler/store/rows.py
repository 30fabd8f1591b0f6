"""Objects and placements as rows, and back. Specs go through the one codec, as canonical JSON."""

import json
from typing import Any

from manifests.codec import load
from manifests.digest import canonical
from manifests.kinds import document_of, manifest_from
from manifests.kinds.machine import MachineSpec
from manifests.scalars import Name, Uid
from manifests.wire import Placement
from reconciler.core.model import Object, Placed, Stage
from reconciler.store.errors import StoreFailed

Row = tuple[Any, ...]


def object_row(item: Object) -> dict[str, Any]:
    return {
        "uid": item.uid,
        "kind": item.manifest.kind,
        "name": item.name,
        "source": item.source,
        "manifest": canonical(document_of(item.manifest)),
        "generation": item.generation,
        "deleting": item.deleting,
        "created": item.created,
        "size": item.size,
    }


def object_from(row: Row) -> Object:
    uid, kind, name, source, manifest, generation, deleting, created, size = row
    try:
        return Object(
            uid=Uid(uid),
            source=source,
            manifest=manifest_from(json.loads(manifest)),
            generation=generation,
            deleting=bool(deleting),
            created=created,
            size=size,
        )
    except (ValueError, LookupError, TypeError) as error:
        raise StoreFailed(f"the stored {kind.lower()} {name!r} cannot be read: {error}") from error


def placement_row(spec: MachineSpec, wire: Placement) -> dict[str, Any]:
    """The columns that Place and Update set."""
    return {"spec": canonical(spec), "wire": canonical(wire)}


def placed_from(row: Row) -> Placed:
    uid, epoch, node, stage, spec, wire, generation, _ = row
    try:
        return Placed(
            node=Name(node),
            stage=Stage(stage),
            spec=load(MachineSpec, json.loads(spec)),
            wire=load(Placement, json.loads(wire)),
            generation=generation,
        )
    except (ValueError, LookupError, TypeError) as error:
        raise StoreFailed(f"the stored placement {uid}@{epoch} cannot be read: {error}") from error
