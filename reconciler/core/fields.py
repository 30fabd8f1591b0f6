"""What the API shows of each kind of object: one table, field by field, as JSON Schema.

Views (`view`), filters (`query`) and the API's description are held to it. Not here: what the values
are, nor what users may send (`lab`).
"""

from typing import Any

from manifests.kinds import KINDS
from manifests.kinds.image import ImageFormat, MachineType
from manifests.kinds.node import PublisherKind
from manifests.scalars import Protocol
from manifests.schema import schema_of
from manifests.wire import ImagePhase
from reconciler.core.images import ImageState
from reconciler.core.model import NodeState
from reconciler.core.onnodes import UNKNOWN
from reconciler.core.status import MachineState

Schema = dict[str, Any]
MIB = "in MiB"


def _object(fields: dict[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in fields if name not in optional]
    return {
        "type": "object",
        "properties": fields,
        "required": required,
        "additionalProperties": False,
    }


def _text(doc: str, **more: Any) -> Schema:
    return {"type": "string", "description": doc} | more


def _count(doc: str) -> Schema:
    return {"type": "integer", "minimum": 0, "description": doc}


def _list(items: Schema, doc: str) -> Schema:
    return {"type": "array", "items": items, "description": doc}


def _or_null(schema: Schema) -> Schema:
    choices = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return schema | {"type": [schema["type"], "null"]} | choices


STRING = {"type": "string"}
BOOLEAN = {"type": "boolean"}
NUMBER = {"type": "number"}
ID = _text("never changes, never used again", format="uuid")
NAME = _text("unique within its kind")
REASON = _text("why it is so, in a sentence; may be empty")
TYPE = _text("docker or libvirt", enum=[str(item) for item in MachineType])
PROTOCOL = _text("", enum=[str(item) for item in Protocol])
NODE_STATES = [*map(str, NodeState), "removing"]

COMMON: dict[str, Schema] = {
    "created": NUMBER | {"description": "seconds since 1970"},
    "labels": {"type": "object", "additionalProperties": STRING, "description": "for selecting"},
    "source": _text("who owns it: `api`, an apply set, a watched directory"),
    "generation": _count("counts the changes of its spec and labels"),
}

MACHINE: dict[str, Schema] = {
    "id": ID,
    "name": NAME,
    "image": _text("the name of its image"),
    "type": _or_null(TYPE),
    "mem": _count(f"memory {MIB}"),
    "cpus": NUMBER | {"description": "processors"},
    "node": _or_null(_text("where it is, or is to be; null before that is known")),
    "ports": _list(STRING, "NODEPORT:MACHINEPORT/PROTOCOL"),
    "state": _text("what was observed", enum=[str(item) for item in MachineState]),
    "reason": REASON,
    "ready": BOOLEAN | {"description": "whether it is as its manifest says"},
    "final": BOOLEAN | {"description": "it failed, and nothing will be tried again by itself"},
    "ip": _text("its address on its node; empty while there is none"),
    "instance": _text("the engine's name for it"),
    "restarts": _count("restarts by the agent"),
    "exitCode": {"type": ["integer", "null"], "description": "how it ended last"},
    "since": _or_null(NUMBER | {"description": "seconds since 1970, of its state"}),
}

NODE: dict[str, Schema] = {
    "id": ID,
    "name": NAME,
    "addr": _text("host:port of its agent"),
    "state": _text("what is known of it", enum=NODE_STATES),
    "reason": REASON,
    "ready": BOOLEAN | {"description": "whether it takes machines"},
    "capacity": _object(
        {
            "cpus": _or_null(NUMBER | {"description": "processors to hand out"}),
            "mem": {"type": ["integer", "null"], "description": f"memory to hand out, {MIB}"},
        }
    ),
    "used": _object(
        {
            "cpus": NUMBER | {"description": "handed out to machines"},
            "mem": _count(f"handed out to machines, {MIB}"),
        }
    ),
    "machines": _count("machines placed on it"),
    "drivers": _list(
        _object({"type": TYPE, "ok": BOOLEAN, "detail": STRING}),
        "its engines, and whether they work",
    ),
    "publisher": _text(
        "what makes ports of VMs reachable", enum=[str(item) for item in PublisherKind]
    ),
    "publisherDetail": _text("what must be known of that; may be empty"),
    "foreign": _list(
        _object(
            {"type": TYPE, "name": STRING, "ports": _list(STRING, "NUMBER/PROTOCOL")}, ("ports",)
        ),
        "containers and VMs that are not ours",
    ),
    "listeners": _list(
        _object(
            {"protocol": PROTOCOL, "port": _count("of the node"), "process": STRING}, ("process",)
        ),
        "programs of the node that have a port",
    ),
    "version": _text("of its agent"),
}

IMAGE: dict[str, Schema] = {
    "id": ID,
    "name": NAME,
    "type": TYPE,
    "format": _text("of its bytes", enum=[str(item) for item in ImageFormat]),
    "size": _count("bytes"),
    "sha256": _or_null(_text("of its bytes, or of a registry's manifest")),
    "origin": _text("where they came from; of a URL, without its query"),
    "state": _text("of its bytes", enum=[str(item) for item in ImageState]),
    "reason": REASON,
    "ready": BOOLEAN | {"description": "whether machines may start from it"},
    "machines": _list(STRING, "the machines that start from it"),
    "nodes": _list(
        _object(
            {
                "node": STRING,
                "state": _text("there", enum=[*map(str, ImagePhase), UNKNOWN]),
                "done": _count("bytes that are there"),
                "size": _count("bytes; 0 while that is not known"),
                "reason": REASON,
            }
        ),
        "nodes that have it, fetch it, or cannot get it",
    ),
}

FIELDS: dict[str, dict[str, Schema]] = {
    kind: fields | COMMON | {"spec": schema_of(KINDS[kind].spec)}
    for kind, fields in (("Node", NODE), ("Image", IMAGE), ("Machine", MACHINE))
}
"""By kind, the fields of its view, in their order."""


def view_schema(kind: str) -> Schema:
    """The JSON Schema of an object of this kind as the API shows it."""
    return _object(FIELDS[kind])
