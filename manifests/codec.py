"""Typed objects <-> plain JSON data, derived from the dataclasses, strict in both directions.

A JSON object becomes a frozen dataclass: `snake_case` fields are `camelCase` in JSON, unknown and
missing fields are errors, nothing is coerced. A class with `from_json`/`to_json` (a quantity, a
port) speaks for itself. What equals its default is left out when dumping, so that adding a field
does not change the digest of objects that do not use it.
"""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")
Json = Any
Decoder = Callable[[Json, str], Any]


class CodecError(ValueError):
    """The data does not have the shape of the type. `path` is like `spec.ports[0]`."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


def load(cls: type[T], data: Json, path: str = "") -> T:
    """`data` (as from json.loads), found at `path`, as an instance of `cls`; raises CodecError."""
    return typing.cast(T, decoder(typing.cast(Any, cls))(data, path))


def dump(value: Any) -> Json:
    """The plain JSON data of `value`; fields at their default are left out."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {
            name: dump(item)
            for field, name in json_fields(typing.cast(Any, type(value)))
            if not _is_default(field, item := getattr(value, field.name))
        }
    if isinstance(value, Mapping):
        return {str(key): dump(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [dump(item) for item in value]
    return value


@cache
def json_fields(cls: type) -> tuple[tuple[Field[Any], str], ...]:
    """(field, its JSON name) of a dataclass, in order."""
    return tuple((field, camel(field.name)) for field in fields(cls))


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


@cache
def hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def bare(hint: Any) -> Any:
    """The type T of a hint `T | None`; any other hint as it is."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (arg for arg in typing.get_args(hint) if arg is not types.NoneType)
    return hint


@cache
def decoder(hint: Any) -> Decoder:
    """The function (data, path) -> value for a type hint; built once per type."""
    if hasattr(hint, "from_json"):
        return _custom(hint)
    if is_dataclass(hint):
        return _dataclass(typing.cast(type, hint))
    if (inner := bare(hint)) is not hint:
        return _optional(inner)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return _sequence(args[0])
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(args[1])
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    return _scalar(hint)


def _custom(cls: Any) -> Decoder:
    def decode(data: Json, path: str) -> Any:
        try:
            return cls.from_json(data)
        except CodecError:
            raise
        except ValueError as error:
            raise CodecError(path, str(error)) from None

    return decode


def _dataclass(cls: type) -> Decoder:
    types_of = hints(cls)
    known = {name: (field, decoder(types_of[field.name])) for field, name in json_fields(cls)}

    def decode(data: Json, path: str) -> Any:
        if not isinstance(data, dict):
            raise CodecError(path, f"expected an object, got {kind_of(data)}")
        dot = f"{path}." if path else ""
        for name in data:
            if name not in known:
                raise CodecError(f"{dot}{name}", "unknown field")
        values = {}
        for name, (field, convert) in known.items():
            if name in data:
                values[field.name] = convert(data[name], dot + name)
            elif field.default is MISSING and field.default_factory is MISSING:
                raise CodecError(f"{dot}{name}", "missing")
        return cls(**values)

    return decode


def _optional(inner: Any) -> Decoder:
    convert = decoder(inner)
    return lambda data, path: None if data is None else convert(data, path)


def _sequence(item: Any) -> Decoder:
    convert = decoder(item)

    def decode(data: Json, path: str) -> Any:
        if not isinstance(data, list):
            raise CodecError(path, f"expected a list, got {kind_of(data)}")
        return tuple(convert(value, f"{path}[{index}]") for index, value in enumerate(data))

    return decode


def _mapping(item: Any) -> Decoder:
    convert = decoder(item)

    def decode(data: Json, path: str) -> Any:
        if not isinstance(data, dict):
            raise CodecError(path, f"expected an object, got {kind_of(data)}")
        return {key: convert(value, f"{path}.{key}") for key, value in data.items()}

    return decode


def _enum(cls: type[Enum]) -> Decoder:
    members = {member.value: member for member in cls}

    def decode(data: Json, path: str) -> Any:
        if not isinstance(data, str) or data not in members:
            raise CodecError(path, f"{data!r} is not one of {', '.join(map(str, members))}")
        return members[data]

    return decode


def _scalar(cls: Any) -> Decoder:
    accepted = (int, float) if cls is float else cls

    def decode(data: Json, path: str) -> Any:
        if not isinstance(data, accepted) or (isinstance(data, bool) and cls is not bool):
            raise CodecError(path, f"expected {JSON_NAMES[cls]}, got {kind_of(data)}")
        return data

    return decode


JSON_NAMES = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


def kind_of(data: Json) -> str:
    if data is None:
        return "null"
    if isinstance(data, dict):
        return "an object"
    if isinstance(data, list):
        return "a list"
    return JSON_NAMES.get(type(data), type(data).__name__)


def _is_default(field: Field[Any], value: Any) -> bool:
    if field.default is not MISSING:
        return bool(value == field.default)
    return field.default_factory is not MISSING and bool(value == field.default_factory())
