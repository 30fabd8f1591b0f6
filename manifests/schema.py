"""JSON Schema (2020-12) of a spec dataclass, from the same hints that load and dump it.

A field's documentation, bounds and example stand in its metadata, written with `spec_field`.
"""

import typing
from collections.abc import Mapping
from dataclasses import MISSING, field, is_dataclass
from enum import Enum
from typing import Any

from manifests.codec import bare, dump, hints, json_fields

Schema = dict[str, Any]


def spec_field(doc: str, *, default: Any = MISSING, factory: Any = MISSING, **schema: Any) -> Any:
    """A dataclass field with its one-line documentation and extra JSON Schema keywords."""
    metadata = {"doc": doc, "schema": schema}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    if default is not MISSING:
        return field(default=default, metadata=metadata)
    return field(metadata=metadata)


def schema_of(cls: type) -> Schema:
    """The schema of a spec class; unknown fields are errors."""
    types_of = hints(cls)
    properties, required = {}, []
    for item, name in json_fields(cls):
        schema = _of_hint(types_of[item.name]) | item.metadata.get("schema", {})
        if doc := item.metadata.get("doc"):
            schema["description"] = doc
        if item.default is not MISSING and item.default is not None:
            schema["default"] = dump(item.default)
        elif item.default is MISSING and item.default_factory is MISSING:
            required.append(name)
        properties[name] = schema
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _of_hint(hint: Any) -> Schema:
    hint = bare(hint)
    if hasattr(hint, "SCHEMA"):
        return dict(hint.SCHEMA)
    if is_dataclass(hint):
        return schema_of(typing.cast(type, hint))
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return {"type": "array", "items": _of_hint(args[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of_hint(args[1])}
    if issubclass(hint, Enum):
        return {"type": "string", "enum": [member.value for member in hint]}
    return {"type": JSON_TYPES[hint]}


JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
