"""Request bodies: strict JSON, of bounded size and depth.

Refused beyond what JSON forbids: duplicate keys, NaN and infinities, lone surrogates, nesting deeper
than DEPTH, more than MOST_VALUES. Nothing is read before the size is known to be allowed.
"""

import json
import re
from typing import Any

from manifests.codec import Json, kind_of
from manifests.problem import did_you_mean, shown
from reconciler.api.http import ApiError, Request, bad_request

MIB = 1 << 20
DEPTH = 64
MOST_VALUES = 4_000_000
"""As text a value may take two bytes, and in memory a hundred; 200,000 ordinary documents have fewer."""
JSON_TYPE = re.compile(r'application/json[ \t]*(;[ \t]*charset="?utf-8"?[ \t]*)?', re.IGNORECASE)
SURROGATE = re.compile(r"[\ud800-\udfff]")
ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

Fields = dict[str, tuple[type, Any]]
"""Name -> (type, default); a default of `...` means that it is required."""


def read_object(request: Request, fields: Fields, *, largest: int = MIB) -> dict[str, Any]:
    """The body as an object with exactly these fields, defaults filled in."""
    data = read_fields(request, largest=largest)
    for name in data:
        if name not in fields:
            hint = did_you_mean(name, fields) or f"known: {', '.join(fields)}"
            raise bad_request(f"unknown field {shown(name)}", field=name[:100], hint=hint)
    return {name: _value(data, name, *wanted) for name, wanted in fields.items()}


def read_fields(request: Request, *, largest: int = MIB) -> dict[str, Json]:
    """The body as an object with any fields."""
    data = parse(_read(request, largest))
    if not isinstance(data, dict):
        raise bad_request(f"the body must be a JSON object, not {kind_of(data)}")
    return data


def _value(data: dict[str, Json], name: str, type_: type, default: Any) -> Any:
    value = data.get(name, default)
    if value is ...:
        raise bad_request(f"{name} is missing", field=name)
    if value is not default and not _is(value, type_):
        raise bad_request(f"{name} is {kind_of(value)}, not {NAMES[type_]}", field=name)
    return value


def _is(value: Json, type_: type) -> bool:
    return isinstance(value, type_) and isinstance(value, bool) is (type_ is bool)


NAMES: dict[type, str] = {
    bool: "true or false",
    int: "an integer",
    str: "a string",
    list: "a list",
}


def _read(request: Request, largest: int) -> bytes:
    if not JSON_TYPE.fullmatch(request.header("content-type")):
        raise ApiError(
            415,
            "unsupported_media_type",
            "send JSON",
            field="Content-Type",
            hint="application/json",
        )
    if request.header("content-encoding") not in ("", "identity"):
        raise ApiError(
            415, "unsupported_media_type", "send it uncompressed", field="Content-Encoding"
        )
    length = request.length
    if length > largest:
        raise ApiError(413, "too_large", f"the body is larger than {largest} bytes")
    return _exactly(request, length)


def _exactly(request: Request, length: int) -> bytes:
    chunks = []
    while length:
        try:
            chunk = request.stream.read(length)
        except OSError as error:
            raise ApiError(408, "request_timeout", f"the body broke off: {error}") from None
        if not chunk:
            raise bad_request("the body ended early")
        chunks.append(chunk)
        length -= len(chunk)
    return b"".join(chunks)


def parse(body: bytes) -> Json:
    """Raises ApiError."""
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > MOST_VALUES:
        raise ApiError(413, "too_large", f"the body has more than {MOST_VALUES} values")
    try:
        data = json.loads(
            body.decode(),
            object_pairs_hook=_unique,
            parse_constant=_constant,
            parse_float=_finite,
        )
    except RecursionError:
        raise bad_request(f"nested deeper than {DEPTH}") from None
    except UnicodeDecodeError:
        raise bad_request("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        message = f"line {error.lineno} column {error.colno}: {error.msg}"
        raise bad_request(f"the body is not JSON: {message}") from None
    except ValueError:  # the interpreter's limit on the digits of an integer
        raise bad_request("a number has too many digits") from None
    _check_depth(data)
    if ESCAPED_SURROGATE.search(body) and SURROGATE.search(json.dumps(data, ensure_ascii=False)):
        raise bad_request("a string contains half of a surrogate pair")
    return data


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    data = dict(pairs)
    if len(data) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise bad_request(f"{shown(twice)} occurs twice in one object", field=twice[:100])
    return data


def _constant(name: str) -> None:
    raise bad_request(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise bad_request(f"{shown(text)} is too large for a number")
    return value


def _check_depth(data: Json) -> None:
    level = [data]
    for _ in range(DEPTH + 1):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise bad_request(f"nested deeper than {DEPTH}")
