"""A request and an answer, free of any framework; and the one shape of all errors."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, Protocol

from manifests.codec import Json
from manifests.problem import did_you_mean, shown
from reconciler.api.roles import UNKNOWN, Caller, Role
from reconciler.core.access import Actor

VERSION = version("iaasctl")
LARGEST_NUMBER = 2**53


class Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class File(Stream, Protocol):
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`body` is JSON, or with `file` the bytes of that file, which the server closes.

    `version` is that of the object it shows, if it shows one.
    """

    status: int = 200
    body: Json = None
    file: File | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    version: str = ""

    def with_header(self, name: str, value: str) -> "Answer":
        return replace(self, headers={**self.headers, name: value})


class ApiError(Exception):
    """An answer that says what is wrong: `error` for programs, the rest for people.

    `field` is the parameter or path in question, `hint` what to do.
    """

    def __init__(
        self,
        status: int,
        error: str,
        message: str,
        *,
        field: str = "",
        hint: str = "",
        conflicts: Sequence[Json] = (),
        faults: Sequence[Json] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        body = {
            "error": error,
            "message": message,
            "field": field,
            "hint": hint,
            "conflicts": list(conflicts),
            "faults": list(faults),
        }
        self.answer = Answer(status=status, body=body, headers=headers or {})


def bad_request(message: str, *, field: str = "", hint: str = "") -> ApiError:
    return ApiError(400, "bad_request", message, field=field, hint=hint)


def not_found(message: str) -> ApiError:
    return ApiError(404, "not_found", message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`arguments` are the variable parts of the path. `length` is None where none was sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    stream: Stream
    arguments: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    caller: Caller = UNKNOWN

    @property
    def sees_secrets(self) -> bool:
        """Those that machines are given, such as the values of their environment."""
        return self.caller.is_a(Role.OPERATOR)

    def by(self, status: int = 200) -> Actor:
        """Who asks for a change that is answered with `status` when it is stored."""
        return self.caller.asks(self.method, self.path, status)

    def header(self, name: str) -> str:
        """By its name in lower case; "" without it."""
        return self.headers.get(name, "")

    def only(self, *known: str) -> None:
        """Refuse query parameters other than these."""
        for name in self.query:
            if name not in known:
                allowed = f"known: {', '.join(known)}" if known else "there are none here"
                hint = did_you_mean(name, known) or allowed
                raise bad_request(f"unknown query parameter {shown(name)}", field=name, hint=hint)

    def flag(self, name: str) -> bool:
        value = self.query.get(name, "false")
        if value not in ("true", "false"):
            raise bad_request(f"{shown(value)} is not true or false", field=name)
        return value == "true"

    def number(self, name: str, default: int | None, *, largest: int = LARGEST_NUMBER) -> Any:
        """A query parameter from 0 to `largest`."""
        if (text := self.query.get(name)) is None:
            return default
        if not re.fullmatch("[0-9]{1,16}", text) or int(text) > largest:
            raise bad_request(
                f"{shown(text)} is not a whole number from 0 to {largest}", field=name
            )
        return int(text)

    @property
    def length(self) -> int:
        """Of the body, in bytes; refused where it cannot be known."""
        if self.header("transfer-encoding"):
            raise ApiError(411, "length_required", "send the body with a Content-Length")
        text = self.header("content-length")
        if not text:
            raise ApiError(411, "length_required", "there is no Content-Length")
        if not re.fullmatch("[0-9]{1,18}", text):
            raise bad_request("the Content-Length is not a number", field="Content-Length")
        return int(text)
