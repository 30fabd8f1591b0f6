"""What the reconciler answers, as typed values or as the Failure that the answer means.

Nothing is taken on trust: an answer of another shape is a Failure that says so.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from iaasctl.errors import (
    Conflict,
    Failure,
    Invalid,
    NotFound,
    Rejected,
    Unauthorised,
    Unreachable,
)
from iaasctl.settings import WHERE
from iaasctl.transport import Response
from manifests.problem import Fault, dotted

Object = Mapping[str, Any]
T = TypeVar("T")


class FieldChange(NamedTuple):
    field: str
    old: Any
    new: Any
    effect: str
    why: str


class Line(NamedTuple):
    """One object that changes. `action`: create | update | restart | replace | delete."""

    action: str
    kind: str
    name: str
    reason: str
    changes: tuple[FieldChange, ...]


class Outcome(NamedTuple):
    """What an apply or delete changes. `data` is the answer as it came.

    `brake`: why the same without a dry run would need approval; empty if it would not.
    """

    revision: int
    lines: tuple[Line, ...]
    data: Object
    brake: str = ""


def parsed(response: Response, read: Callable[[Any], T]) -> T:
    """The body of a good answer, through `read`; raises the Failure that a bad one means."""
    data = _json(response)
    if response.status >= 400:
        raise failure(response.status, data)
    if response.status >= 300:
        raise strange(f"status {response.status}")
    try:
        return read(data)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise strange("its answer is of an unknown form") from None


def outcome(data: Any) -> Outcome:
    lines = tuple(_line(line) for line in data["lines"])
    return Outcome(int(data["revision"]), lines, data, str(data.get("brake") or ""))


def _line(data: Any) -> Line:
    changes = tuple(
        FieldChange(
            str(item["field"]),
            item.get("old"),
            item.get("new"),
            str(item.get("effect") or ""),
            str(item.get("why") or ""),
        )
        for item in data.get("changes") or ()
    )
    return Line(
        str(data["action"]),
        str(data["kind"]),
        str(data["name"]),
        str(data.get("reason") or ""),
        changes,
    )


def objects(data: Any) -> list[Object]:
    if not isinstance(data, list):
        raise TypeError
    return [one(item) for item in data]


def one(data: Any) -> Object:
    if not isinstance(data, dict):
        raise TypeError
    return data


def failure_of(response: Response) -> Failure:
    return failure(response.status, _json(response))


def failure(status: int, data: Any) -> Failure:
    """The Failure of an answer of 4xx or 5xx."""
    error = data if isinstance(data, dict) else {}
    message = str(error.get("message") or f"the server answered with status {status}")
    hint = str(error.get("hint") or "")
    field = str(error.get("field") or "")
    where = f"field {field}" if field not in message else ""
    if status in (401, 403):
        return Unauthorised(message, fix=hint if status == 403 and hint else WHERE)
    if status == 404:
        return NotFound(message, fix=hint) if "error" in error else strange("status 404")
    if status in (409, 412):
        return _conflict(error, message, hint)
    if status in (400, 405, 413, 415, 422):
        return _rejected(error, message, where, hint)
    if status in (429, 503):
        return Unreachable("the reconciler is not ready", message, hint or "try again in a moment")
    return Failure(message, where, hint or "look at the log of iaas-reconciler")


def _conflict(error: Mapping[str, Any], message: str, hint: str) -> Failure:
    if error.get("error") in ("brake", "braked"):
        return Conflict("too much would stop or go at once; nothing was changed", message, APPROVE)
    conflicts = error.get("conflicts")
    texts = [
        str(item.get("message") or f"{item.get('kind')} {item.get('name')}")
        for item in (conflicts if isinstance(conflicts, list) else [])
        if isinstance(item, dict)
    ]
    if not texts:
        return Conflict(message, fix=hint)
    if all(text.startswith("there is no ") for text in texts):
        return NotFound("nothing was changed", "\n".join(texts), hint)
    count = "a conflict" if len(texts) == 1 else f"{len(texts)} conflicts"
    return Conflict(f"{count}; nothing was changed", "\n".join(texts), hint)


APPROVE = "look at the plan; if that is what you want, the same command again with --approve"


def _rejected(error: Mapping[str, Any], message: str, where: str, hint: str) -> Invalid:
    faults = error.get("faults")
    known = [_fault(item) for item in (faults if isinstance(faults, list) else [])]
    found = tuple(item for item in known if item)
    more = "\n".join(f"{dotted(fault.path)}: {fault.message}" for _, fault in found[1:])
    return Rejected(message, where or more, hint, found)


def _fault(data: Any) -> tuple[int, Fault] | None:
    try:
        path = tuple(step for step in data["path"] if isinstance(step, str | int))
        fault = Fault(
            path,
            str(data["message"]),
            str(data.get("hint") or ""),
            key=bool(data.get("key")),
            first=int(data["first"]) if data.get("first") is not None else None,
        )
        return int(data["index"]), fault
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def _json(response: Response) -> Any:
    if not response.body and response.status >= 400:
        return {}
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):
        if response.status >= 400:
            return {}
        raise strange("its answer is not JSON") from None


def strange(why: str) -> Failure:
    """The failure of a server that does not keep to the contract."""
    return Failure(
        "this does not look like an answer of a reconciler",
        why,
        "check --server and IAAS_SERVER, and that iaasctl and iaas-reconciler are of the same version",
    )
