"""Watched directories for people: what is wrong in them with its place, and what waits in them."""

from collections.abc import Iterator, Mapping
from typing import Any

from iaasctl import answers
from iaasctl.answers import Object, Outcome
from iaasctl.plans import plan_text
from iaasctl.terminal import safe

APART = ("errors", "plan", "notes")


def plain(item: Object) -> dict[str, Any]:
    """What is said of a source in one line each."""
    return {key: value for key, value in item.items() if key not in APART}


def troubles(item: Object) -> Iterator[str]:
    """Blocks of text: its errors, what it would do if it were approved, and its notes."""
    errors = [_error(error) for error in _list(item, "errors") if isinstance(error, Mapping)]
    if errors:
        yield "\n".join(["errors:", *errors])
    if item.get("state") == "waiting":
        yield f"if it is approved:\n{plan_text(waiting(item))}"
    if notes := [safe(note) for note in _list(item, "notes")]:
        yield "\n".join(["notes:", *notes])


def waiting(item: Object) -> Outcome:
    """What waits in it, as the outcome that it would have."""
    try:
        return answers.outcome({"revision": 0, "lines": _list(item, "plan")})
    except (LookupError, TypeError, ValueError, AttributeError):
        return Outcome(0, (), {})


def content(item: Object) -> str:
    """What names exactly what is in it now."""
    found = item.get("found")
    return str(found.get("digest") or "") if isinstance(found, Mapping) else ""


def _list(item: Object, key: str) -> list[Any]:
    value = item.get(key)
    return value if isinstance(value, list) else []


def _error(error: Mapping[str, Any]) -> str:
    """As `apply` shows it."""
    where = ":".join(safe(error.get(key)) for key in ("file", "line", "column"))
    parts = [
        where if error.get("file") else "",
        safe(error.get("field")),
        safe(error.get("message")),
    ]
    hint = f"; {safe(error.get('hint'))}" if error.get("hint") else ""
    return ": ".join(part for part in parts if part) + hint
