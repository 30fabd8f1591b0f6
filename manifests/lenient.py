"""A spec as far as it can be typed, with a fault for every scalar of our own that cannot.

Here: the codec's rules applied field by field, so that one mistake does not hide another. Not here:
wrong shapes, unknown and missing fields, lengths and counts, all of which the schema says.
"""

import typing
from collections.abc import Mapping
from dataclasses import MISSING, is_dataclass
from typing import Any

from manifests.codec import CodecError, Json, bare, decoder, hints, json_fields
from manifests.problem import Fault, Path

LONGEST = 200
MOST = 4096
"""Items that are looked at; the schema refuses far fewer, and in so many nobody looks for mistakes."""


def spec_of(cls: type, data: Json, path: Path, faults: list[Fault]) -> Any | None:
    """`data` as `cls`, wrong fields left at their defaults; None where a required one is wrong."""
    values: dict[str, Any] = {}
    is_whole = True
    for field, name in json_fields(cls):
        value: Any = MISSING
        if name in data:
            value = _value(hints(cls)[field.name], data[name], (*path, name), faults)
        if value is not MISSING:
            values[field.name] = value
        elif field.default is MISSING and field.default_factory is MISSING:
            is_whole = False
    return cls(**values) if is_whole else None


def _value(hint: Any, data: Json, path: Path, faults: list[Fault]) -> Any:
    """The typed value, or MISSING."""
    if isinstance(data, dict | list):
        return _items(bare(hint), data, path, faults)
    try:
        return decoder(hint)(data, "")
    except CodecError as error:
        if data is not None and hasattr(bare(hint), "from_json"):
            message, _, advice = _short(error.message).partition("; ")
            faults.append(Fault(path, message, advice))
        return MISSING


def _items(hint: Any, data: Json, path: Path, faults: list[Fault]) -> Any:
    if len(data) > MOST:
        return MISSING
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(data, list) and origin is tuple:
        items = [_value(args[0], item, (*path, at), faults) for at, item in enumerate(data)]
        return MISSING if MISSING in items else tuple(items)
    if isinstance(data, dict) and is_dataclass(hint) and not hasattr(hint, "from_json"):
        spec = spec_of(typing.cast(type, hint), data, path, faults)
        return MISSING if spec is None else spec
    if isinstance(data, dict) and origin is not None and issubclass(origin, Mapping):
        table = {key: _value(args[1], item, (*path, key), faults) for key, item in data.items()}
        return MISSING if MISSING in table.values() else table
    return MISSING


def _short(message: str) -> str:
    """The message without the middle of a value of a megabyte that it quotes."""
    if len(message) <= LONGEST:
        return message
    return f"{message[: LONGEST // 3]}...{message[-LONGEST // 2 :]}"
