"""The lab's JSON and manifests: `{"image": "nginx", "mem": 256}` as a document, and the document's
faults in the lab's words.

Every field of a spec has a name here, its own or that of RENAMED, so that a new field of a kind needs
nothing. Not here: whether the values are good, which the manifests know.
"""

import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import cache
from itertools import islice
from typing import Any

from manifests.codec import Json, bare, hints, json_fields
from manifests.kinds import API_VERSION, KINDS, schema_for
from manifests.kinds.image import FORMATS, MachineType
from manifests.problem import Fault, Path, did_you_mean
from manifests.scalars import Memory
from reconciler.core.fields import FIELDS, Schema

RENAMED = {"memory": "mem", "address": "addr"}
MADE_UP = ("Machine",)
"""Kinds whose objects get a name where none is given."""
MOST_FAULTS = 100
"""Nobody reads more, and finding what was meant by a wrong name takes a while."""
LONGEST_FIELD = 100
"""Characters of an unknown one that are said again."""
TYPES = {str(format_): str(type_) for type_, formats in FORMATS.items() for format_ in formats}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """`path` is its place in the document; `inner` are the fields of one that has some."""

    path: Path
    schema: Schema
    required: bool = False
    memory: bool = False
    inner: Mapping[str, "Field"] | None = None


def document_from(kind: str, data: Mapping[str, Json]) -> tuple[dict[str, Any], tuple[Fault, ...]]:
    """The manifest that `data` stands for, and what no manifest would tell: fields that are unknown,
    read-only or missing."""
    document: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {},
        "spec": _typed(kind, data),
    }
    faults = islice(_move(document, data, fields_of(kind), (), kind), MOST_FAULTS)
    return document, tuple(faults)


def in_lab_words(kind: str, faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """The faults of a document, with the paths that its fields have in the lab's JSON."""
    found: dict[Path, Fault] = {}
    for fault in faults:
        path = _lab_path(fault.path, fields_of(kind))
        found.setdefault(path, replace(fault, path=path))
    return tuple(found.values())


def input_schema(kind: str) -> Schema:
    """The JSON Schema of what makes an object of this kind."""
    return _schema(fields_of(kind))


@cache
def fields_of(kind: str) -> Mapping[str, Field]:
    """What a client may say of a new object, by the names of the lab."""
    schema = schema_for(KINDS[kind])["properties"]
    metadata = schema["metadata"]["properties"]
    named = Field(path=("metadata", "name"), schema=metadata["name"], required=kind not in MADE_UP)
    labels = Field(path=("metadata", "labels"), schema=metadata["labels"])
    return {
        "name": named,
        **_spec_fields(KINDS[kind].spec, schema["spec"], ("spec",)),
        "labels": labels,
    }


def _spec_fields(cls: type, schema: Schema, path: Path) -> dict[str, Field]:
    return {
        RENAMED.get(name, name): _field(
            bare(hints(cls)[field.name]),
            schema["properties"][name],
            (*path, name),
            # An image's follows from its format.
            required=name in schema["required"] and name != "type",
        )
        for field, name in json_fields(cls)
    }


def _field(hint: Any, schema: Schema, path: Path, *, required: bool) -> Field:
    if not is_dataclass(hint) or hasattr(hint, "from_json"):
        return Field(path=path, schema=schema, required=required, memory=hint is Memory)
    inner = _spec_fields(typing.cast(type, hint), schema, path)
    if len(inner) == 1:  # such as the policy of a restart, which is all there is to say of it
        (only,) = inner.values()
        return only
    return Field(path=path, schema=schema, required=required, inner=inner)


def _typed(kind: str, data: Mapping[str, Json]) -> dict[str, Any]:
    """A spec with the type of an image, where its format tells it."""
    if kind != "Image" or "type" in data:
        return {}
    format_ = data.get("format")
    if format_ is None and "registry" not in data:
        return {}
    found = TYPES.get(format_) if isinstance(format_, str) else None
    return {"type": found or str(MachineType.DOCKER)}


def _move(
    document: dict[str, Any],
    data: Mapping[str, Json],
    fields: Mapping[str, Field],
    at: Path,
    kind: str,
) -> Iterator[Fault]:
    """Put every value where the document has it."""
    for name, value in data.items():
        if name not in fields:
            yield _unknown(name, fields, at, kind)
        elif (inner := fields[name].inner) is not None and isinstance(value, dict):
            yield from _move(document, value, inner, (*at, name), kind)
        else:
            _put(document, fields[name].path, _value(fields[name], value))
    for name, field in fields.items():
        if field.required and name not in data:
            yield Fault((*at, name), "missing", f"add {name}")
    if kind == "Image" and not at and not {"type", "format", "registry"} & set(data):
        listed = ", ".join(TYPES)
        yield Fault(("type",), "missing", f"add type, or a format that tells it: {listed}")


def _unknown(name: str, fields: Mapping[str, Field], at: Path, kind: str) -> Fault:
    if not at and name in FIELDS[kind]:
        return Fault((name,), "is read-only", f"remove {name}", key=True)
    name = name[:LONGEST_FIELD]
    meant = RENAMED.get(name)
    hint = f"did you mean '{meant}'?" if meant in fields else did_you_mean(name, fields)
    return Fault(
        (*at, name), "unknown field", hint or f"the fields here are {', '.join(fields)}", key=True
    )


def _put(document: dict[str, Any], path: Path, value: Json) -> None:
    *parents, last = path
    for step in parents:
        document = document.setdefault(str(step), {})
    document[str(last)] = value


def _value(field: Field, value: Json) -> Json:
    """Memory may be a number of MiB; anything wrong is left for the manifest to say."""
    if not field.memory or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return f"{int(value)}Mi" if 1 <= value < 10**8 and value == int(value) else value


def _lab_path(path: Path, fields: Mapping[str, Field]) -> Path:
    for name, field in fields.items():
        if field.inner is not None and path[: len(field.path)] == field.path:
            return (name, *_lab_path(path, field.inner)) if path != field.path else (name,)
        if path[: len(field.path)] == field.path:
            return (name, *path[len(field.path) :])
    return path[1:] if path[:1] == ("spec",) else path


def _schema(fields: Mapping[str, Field]) -> Schema:
    return {
        "type": "object",
        "properties": {name: _field_schema(field) for name, field in fields.items()},
        "required": [name for name, field in fields.items() if field.required],
        "additionalProperties": False,
    }


def _field_schema(field: Field) -> Schema:
    if field.inner is not None:
        described = {"description": field.schema.get("description", "")}
        return _schema(field.inner) | described
    if not field.memory:
        return field.schema
    text = {key: value for key, value in field.schema.items() if key in ("type", "pattern")}
    number = {"type": "integer", "minimum": 8, "maximum": Memory.LARGEST}
    return {"anyOf": [number, text], "description": "memory in MiB, or with its unit: 256, 2Gi"}
