"""Selecting objects by their fields: `state=running`, `labels.app=shop`, `capacity.cpus=4`."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from manifests.problem import did_you_mean, shown
from reconciler.core.fields import FIELDS, Schema

Json = Any
Term = tuple[str, str]
QUERY = "query"
MOST_TERMS = 32


class QueryError(ValueError):
    """What cannot be asked for. `field` is the one that is wrong, `hint` says which there are."""

    def __init__(self, message: str, field: str, hint: str) -> None:
        super().__init__(message)
        self.field, self.hint = field, hint


def terms_of(kind: str, parameters: Mapping[str, str]) -> tuple[Term, ...]:
    """The (field, value) pairs that all must hold: those of the parameters, and those in the text of
    `query`, `field=value,...`. Raises QueryError."""
    plain = [(name, value) for name, value in parameters.items() if name != QUERY]
    terms = (*plain, *_split(parameters.get(QUERY, "")))
    if len(terms) > MOST_TERMS:
        raise QueryError(f"more than {MOST_TERMS} terms", QUERY, "ask for less at once")
    for field, _ in terms:
        _check(kind, field)
    return terms


def select(items: Iterable[dict[str, Json]], terms: Iterable[Term]) -> list[dict[str, Json]]:
    """The views of which all terms hold."""
    wanted = tuple(terms)
    return [item for item in items if all(_holds(item, *term) for term in wanted)]


def _split(text: str) -> Iterable[Term]:
    for term in text.split(",") if text else ():
        field, equals, value = term.partition("=")
        if not equals:
            raise QueryError(
                f"{shown(term)} is not FIELD=VALUE", QUERY, "write state=running,node=n1"
            )
        yield field, value


def _check(kind: str, field: str) -> None:
    """Raises QueryError for a field that no object of this kind has."""
    head, dot, rest = field.partition(".")
    fields = FIELDS[kind]
    if head not in fields or (dot and fields[head].get("type") != "object"):
        hint = did_you_mean(head, fields) if head not in fields else ""
        listed = f"fields: {', '.join(fields)}"
        raise QueryError(f"unknown field {shown(field)}", field[:100], f"{hint} {listed}".strip())
    if dot:
        _check_part(fields[head], head, rest, field)


def _check_part(schema: Schema, head: str, rest: str, field: str) -> None:
    known = schema.get("properties", {})
    if schema["additionalProperties"] is False and rest not in known:
        listed = ", ".join(f"{head}.{name}" for name in known)
        raise QueryError(f"unknown field {shown(field)}", field[:100], f"fields: {listed}")


def _holds(item: dict[str, Json], field: str, value: str) -> bool:
    """One that is a list holds what any of its items is."""
    name, dot, rest = field.partition(".")
    found = item[name].get(rest) if dot else item[name]
    return value in map(_text, found) if isinstance(found, list) else value == _text(found)


def _text(value: Json) -> str:
    """As written in a query: strings bare, nothing for null, the rest as JSON."""
    if value is None:
        return ""
    return str(value) if isinstance(value, str) else json.dumps(value)
