"""The kinds of object a manifest can declare: one module each, one table.

Here: what the user may say. Not here: what happens then, nor where the text came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from manifests.codec import Json, dump, load
from manifests.kinds.image import ImageSpec
from manifests.kinds.machine import MachineSpec
from manifests.kinds.node import NodeSpec
from manifests.scalars import NAME_HINT, NAME_PATTERN, Name
from manifests.schema import Schema, schema_of

API_VERSION = "iaas/v1"
Spec = NodeSpec | ImageSpec | MachineSpec


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    plural: str
    spec: type[Spec]
    doc: str


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("Node", "nodes", NodeSpec, "A Linux host that runs an agent."),
        Kind("Image", "images", ImageSpec, "The bytes a machine starts from, pinned by digest."),
        Kind("Machine", "machines", MachineSpec, "A container or a virtual machine."),
    )
}

LABEL = "^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE = "^[^\\x00-\\x1f\\x7f\\ud800-\\udfff\\ufffe\\uffff]*$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One object as the user declares it. `kind` is a key of KINDS, `spec` of its class."""

    kind: str
    name: Name
    spec: Spec
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.name


def manifest_from(document: Json) -> Manifest:
    """A document that `manifests.validate` accepted, as a typed object; raises CodecError."""
    metadata = document["metadata"]
    kind = KINDS[document["kind"]]
    return Manifest(
        kind=kind.name,
        name=load(Name, metadata["name"], "metadata.name"),
        labels=dict(metadata.get("labels", {})),
        spec=load(kind.spec, document.get("spec", {}), "spec"),
    )


def document_of(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain data in normal form: what `export` prints and digests cover."""
    metadata: dict[str, Any] = {"name": str(manifest.name)}
    if manifest.labels:
        metadata["labels"] = dict(manifest.labels)
    return {
        "apiVersion": API_VERSION,
        "kind": manifest.kind,
        "metadata": metadata,
        "spec": dump(manifest.spec),
    }


def schema_for(kind: Kind) -> Schema:
    """The JSON Schema of a whole document of this kind."""
    label = {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.name,
        "description": kind.doc,
        "type": "object",
        "additionalProperties": False,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind.name},
            "metadata": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "pattern": NAME_PATTERN, "description": NAME_HINT},
                    "labels": {
                        "type": "object",
                        "maxProperties": 64,
                        "propertyNames": {"pattern": LABEL, "not": {"pattern": "^iaas[./]"}},
                        "additionalProperties": label,
                    },
                },
            },
            "spec": schema_of(kind.spec),
        },
    }
