"""Objects in the form asked for with -o. `table` and `wide` are for people, the rest for programs."""

from collections.abc import Sequence
from typing import Any

from iaasctl import views
from iaasctl.table import table
from iaasctl.terminal import safe, safe_json
from iaasctl.views import Object

FORMATS = ("table", "wide", "json", "yaml", "name")
Group = tuple[str, Sequence[Object]]
"""(plural, objects)."""


def as_text(groups: Sequence[Group], form: str, *, single: bool = False) -> str:
    """The groups as text; `single`: the one object of the one group instead of a list."""
    if form in ("json", "yaml"):
        return as_data(_data(groups, single), form)
    if form == "name":
        return "\n".join(names(groups))
    return "\n\n".join(
        table(views.rows(plural, objects, wide=form == "wide"))
        for plural, objects in groups
        if objects
    )


def _data(groups: Sequence[Group], single: bool) -> Any:
    if len(groups) > 1:
        return {plural: list(objects) for plural, objects in groups}
    ((_, objects),) = groups
    return objects[0] if single else list(objects)


def names(groups: Sequence[Group]) -> list[str]:
    """`machine/web1` and so on: what `delete` and `describe` take."""
    return [
        views.about(item) if plural == "events" else f"{plural[:-1]}/{safe(item.get('name'))}"
        for plural, objects in groups
        for item in objects
    ]


def as_data(data: Any, form: str, *, indent: int | None = 2) -> str:
    if form == "yaml":
        import yaml

        return str(yaml.safe_dump(data, sort_keys=False)).rstrip("\n")
    import json

    return safe_json(json.dumps(data, indent=indent, ensure_ascii=False))
