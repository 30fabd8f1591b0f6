"""iaasctl describe."""

from collections.abc import Mapping
from typing import Any

import click

from iaasctl import views
from iaasctl.answers import Object
from iaasctl.client import Client
from iaasctl.completing import words_of
from iaasctl.errors import Exit, Failure, Invalid
from iaasctl.kinds import IMAGE, MACHINE, NODE, SOURCE, Kind, keys_of
from iaasctl.session import connected
from iaasctl.sources import plain, troubles
from iaasctl.table import table
from iaasctl.terminal import out, paint, safe

LAST_EVENTS = 10
MOMENTS = ("created", "since", "at", "seen", "applied")
FIRST = ("name", "id", "state", "ready", "reason", "node", "image", "type")
LAST = ("labels", "source", "generation", "created", "since", "spec")


@click.command("describe")
@click.argument("words", nargs=-1, required=True, metavar="KIND NAME", shell_complete=words_of)
@connected
def command(client: Client, *, words: tuple[str, ...]) -> int:
    """Tell everything about one object: what it is, why it is not ready, what happened to it.

    \b
    Examples:
      iaasctl describe machine web1
      iaasctl describe node/n1
      iaasctl describe image web            and which nodes have it
      iaasctl describe source dir:shop
    """
    kind, names = keys_of(words)
    if len(names) != 1:
        raise Invalid("describe tells of one object", fix=f"iaasctl describe {kind.word} NAME")
    item = client.object(kind.plural, names[0])
    if kind is SOURCE:
        parts = [_head(kind, item), "\n".join(_lines(plain(item))), *troubles(item)]
    else:
        fields = {key: value for key, value in item.items() if kind is not IMAGE or key != "nodes"}
        parts = [_head(kind, item), "\n".join(_lines(_ordered(fields)))]
    if kind is IMAGE:
        parts.append(_nodes(item))
    if kind is NODE:
        parts.append(_machines(client, names[0]))
    parts.append(_events(client, kind, str(item.get("name", names[0]))))
    out("\n\n".join(part for part in parts if part))
    return Exit.OK


def _head(kind: Kind, item: Object) -> str:
    """One sentence: is it as wanted, and if not, why."""
    name = f"{kind.word} {views.name_of(item)}"
    if item.get("ready") is True:
        wants = "in force" if kind is SOURCE else "as its manifest wants it"
        return paint(f"{name} is {wants}: {views.state(item)}", "green")
    why = safe(item.get("reason")) or "no reason is known yet"
    return paint(f"{name} is not ready: {views.state(item)}: {why}", "yellow")


def _ordered(item: Object) -> dict[str, Any]:
    middle = [key for key in item if key not in (*FIRST, *LAST)]
    return {key: item[key] for key in (*FIRST, *middle, *LAST) if key in item}


def _lines(data: Mapping[str, Any], indent: str = "") -> list[str]:
    """`key: value` in a column; objects and lists of objects indented below their key."""
    width = max((len(safe(key)) for key in data), default=0) + 1
    lines = []
    for key, value in data.items():
        label = f"{indent}{safe(key)}:"
        if isinstance(value, Mapping) and value:
            lines += [label, *_lines(value, indent + "  ")]
        elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            lines += [label, *(f"{indent}  - {views.shown(one)}" for one in value)]
        else:
            lines.append(f"{label.ljust(width + len(indent))}  {_value(key, value)}")
    return lines


def _value(key: str, value: Any) -> str:
    if key in MOMENTS and value:
        return views.clock(value)
    if key == "mem":
        return views.memory(value)
    if key == "size":
        return views.size(value)
    return views.shown(value)


def _nodes(image: Object) -> str:
    found = image.get("nodes")
    lines = [f"  {views.on_node(it)}" for it in found] if isinstance(found, list) else []
    return "\n".join(["on nodes:", *lines]) if lines else "on no node"


def _machines(client: Client, node: str) -> str:
    found = views.by_name(client.objects(MACHINE.plural, {"node": node}))
    return f"machines on it:\n{table(views.rows(MACHINE.plural, found))}" if found else ""


def _events(client: Client, kind: Kind, name: str) -> str:
    """The last events; their lack, or a failure to get them, spoils nothing."""
    try:
        events = client.events(kind=kind.name, name=name, limit=str(LAST_EVENTS))
    except Failure as error:
        return f"events: {safe(error.what)}"
    rows = views.rows("events", events[-LAST_EVENTS:])
    return f"last events:\n{table([[row[0], *row[2:]] for row in rows])}" if events else "no events"
