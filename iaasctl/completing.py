"""What the shell completes: kinds, names and ids, FIELD=VALUE. Asks the server, but never for long,
and says nothing when that fails: a person is typing.
"""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from iaasctl.kinds import SHOWN, Kind, kind_of
from iaasctl.session import WHERE

if TYPE_CHECKING:
    from iaasctl.answers import Object

PATIENCE = 1.0
FIELDS = ("state", "node", "image", "type", "name")
Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def names_of(kind: Kind, *, ids: bool = True) -> Completer:
    """The names of a kind's objects; with `ids` ids too, once one was begun."""

    def complete(ctx: click.Context, _: click.Parameter, begun: str) -> list[str]:
        return _names(_objects(ctx, kind), begun, ids=ids)

    return complete


def filters_of(kind: Kind) -> Completer:
    """FIELD=VALUE as objects have them."""

    def complete(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
        return _filters(_objects(ctx, kind), _words(ctx, parameter), begun)

    return complete


def words_of(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """KIND, then names, as `get`, `describe` and `delete` take them."""
    words = _words(ctx, parameter)
    if not words:
        return [
            word for kind in SHOWN for word in (kind.word, kind.plural) if word.startswith(begun)
        ]
    try:
        objects = _objects(ctx, kind_of(words[0]))
    except Exception:
        return []
    return [*_names(objects, begun, ids=True), *_filters(objects, words, begun)]


def _words(ctx: click.Context, parameter: click.Parameter) -> Sequence[str]:
    """What stands on the line already for this argument."""
    words = ctx.params.get(parameter.name or "")
    return words if isinstance(words, tuple) else ()


def _names(objects: "Sequence[Object]", begun: str, *, ids: bool) -> list[str]:
    fields = ("name", "id") if ids and begun else ("name",)
    found = [str(item.get(field)) for field in fields for item in objects]
    return [word for word in found if word.startswith(begun) and word.isprintable()]


def _filters(objects: "Sequence[Object]", words: Sequence[str], begun: str) -> list[str]:
    """bash cuts the line at `=`, so that the field and the sign are words of their own there."""
    pairs = {(field, str(item[field])) for item in objects for field in FIELDS if item.get(field)}
    if len(words) >= 2 and words[-1] == "=":
        found = [value for field, value in pairs if field == words[-2]]
    else:
        found = [f"{field}={value}" for field, value in pairs]
    return sorted(word for word in found if word.startswith(begun) and word.isprintable())


def _objects(ctx: click.Context, kind: Kind) -> "Sequence[Object]":
    """In a thread of its own, since there is no other way to give up in time."""
    found: list[Object] = []

    def ask() -> None:
        try:
            options = [ctx.params, ctx.find_root().params]
            where = (next((one[name] for one in options if one.get(name)), None) for name in WHERE)
            with ctx.obj.client(*where) as client:
                found.extend(client.objects(kind.plural))
        except Exception:
            return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return list(found)
