"""The JSON Schemas that the API's description refers to by name: one table."""

from typing import Any

from manifests.change import Effect
from manifests.kinds import KINDS, Kind, schema_for
from manifests.schema import schema_of
from reconciler.core.audit import Entry
from reconciler.core.conflicts import Conflict
from reconciler.core.events import Event
from reconciler.core.explain import Action
from reconciler.core.fields import view_schema
from reconciler.core.lab import input_schema
from reconciler.core.sources import State

Schema = dict[str, Any]
STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def listed(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def record(properties: Schema, *optional: str) -> Schema:
    """An object with these properties and no others, all there but the optional ones."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def manifest(kind: Kind) -> Schema:
    return {name: value for name, value in schema_for(kind).items() if name != "$schema"}


FAULT = record(
    {
        "index": COUNT | {"description": "of the document in the request"},
        "path": listed({"type": ["string", "integer"]}),
        "message": STRING,
        "hint": STRING,
        "key": {"const": True, "description": "the name of the field is wrong, not its value"},
        "first": COUNT | {"description": "index of the document that it collides with"},
    },
    "key",
    "first",
)
ERROR = record(
    {
        "error": STRING | {"description": "a code, for programs"},
        "message": STRING | {"description": "what happened, for people"},
        "field": STRING | {"description": "the field or parameter in question; may be empty"},
        "hint": STRING | {"description": "what to do; may be empty"},
        "conflicts": listed(ref("Conflict")),
        "faults": listed(ref("Fault")),
    }
)
CHANGE = record(
    {
        "field": STRING,
        "old": {},
        "new": {},
        "effect": {"enum": [None, *map(str, Effect)]},
        "why": STRING,
    },
    "effect",
    "why",
)
LINE = record(
    {
        "action": {"type": "string", "enum": list(map(str, Action))},
        "kind": STRING,
        "name": STRING,
        "reason": STRING,
        "changes": listed(ref("FieldChange")),
    },
    "reason",
    "changes",
)
OUTCOME = record(
    {
        "revision": COUNT,
        "changed": COUNT | {"description": "objects"},
        "lines": listed(ref("PlanLine")) | {"description": "the plan"},
        "brake": STRING | {"description": "why the same without dryRun would need approval"},
    }
)
EVENT = schema_of(Event)
EVENT = EVENT | {
    "properties": {"id": COUNT} | EVENT["properties"],
    "required": ["id", *EVENT["required"]],
}
AUDITED = schema_of(Entry)
AUDITED = AUDITED | {
    "properties": {"id": COUNT}
    | AUDITED["properties"]
    | {"revision": {"type": ["integer", "null"]}},
    "required": ["id", *AUDITED["properties"], "revision"],
}
PROBLEM = record(
    {
        "file": STRING,
        "line": COUNT,
        "column": COUNT,
        "field": STRING,
        "message": STRING,
        "hint": STRING,
    }
)
SOURCE = record(
    {
        "name": STRING,
        "path": STRING | {"description": "the directory"},
        "kind": STRING | {"description": "plain or git"},
        "state": {"type": "string", "enum": list(map(str, State))},
        "ready": BOOLEAN | {"description": "whether what it says is in force"},
        "reason": STRING,
        "commit": STRING | {"description": "that is in force; empty without git"},
        "digest": STRING | {"description": "of the manifests that are in force"},
        "revision": COUNT,
        "applied": {"type": ["number", "null"], "description": "seconds since 1970"},
        "objects": COUNT,
        "found": record({"commit": STRING, "digest": STRING}),
        "errors": listed(PROBLEM),
        "notes": listed(STRING),
        "plan": listed(ref("PlanLine")) | {"description": "what waits for approval"},
    }
)
APPROVAL: Schema = {
    "description": "what was looked at: the digest or the commit that was found",
    "anyOf": [
        record({one: STRING | {"minLength": 1}, other: {"const": ""}}, other)
        for one, other in (("digest", "commit"), ("commit", "digest"))
    ],
}
APPLY = record(
    {
        "source": {
            "type": "string",
            "pattern": "^[a-z][a-z0-9-]{0,31}(:[A-Za-z0-9._-]{1,64})?$",
            "default": "api",
            "description": "the owner of the objects",
        },
        "documents": listed({"anyOf": [ref(f"{name}Manifest") for name in KINDS]}),
        "prune": BOOLEAN | {"default": False, "description": "delete what else the source owns"},
        "approve": BOOLEAN | {"default": False, "description": "let through what the brake holds"},
    },
    "source",
    "prune",
    "approve",
)
DELETE = record(
    {
        "objects": listed(
            record({"kind": {"type": "string", "enum": list(KINDS)}, "name": STRING})
        ),
        "approve": BOOLEAN | {"default": False, "description": "let through what the brake holds"},
    },
    "approve",
)

SCHEMAS: dict[str, Schema] = {
    "Error": ERROR,
    "Conflict": schema_of(Conflict),
    "Fault": FAULT,
    "Outcome": OUTCOME,
    "PlanLine": LINE,
    "FieldChange": CHANGE,
    "Event": EVENT,
    "Apply": APPLY,
    "Delete": DELETE,
    "Audited": AUDITED,
    "Source": SOURCE,
    "Approval": APPROVAL,
    "Blob": record({"sha256": STRING, "size": COUNT | {"description": "bytes that are here"}}),
    **{name: view_schema(name) for name in KINDS},
    **{f"New{name}": input_schema(name) for name in KINDS},
    **{f"{kind.name}Manifest": manifest(kind) for kind in KINDS.values()},
}
