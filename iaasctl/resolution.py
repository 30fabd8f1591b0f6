"""Objects as people name them on the command line: by name, by id, or by the beginning of an id.

The server is asked for exact ids only: what is shortened is made whole here.
"""

from collections.abc import Sequence

from iaasctl.answers import Object
from iaasctl.client import Client
from iaasctl.errors import Invalid, NotFound
from iaasctl.kinds import Kind
from iaasctl.views import name_of, state

SHORTEST = 4
"""Characters of an id: with fewer, the name of what is gone would too often be another's id."""
SHOWN = 10


def resolve(client: Client, kind: Kind, words: Sequence[str]) -> list[Object]:
    """The objects that the words name, each once, or NotFound or Invalid for the first that does not
    name one."""
    objects = client.objects(kind.plural)
    found = [_named(objects, kind, word) for word in words]
    return list({str(item.get("id")): item for item in found}.values())


def _named(objects: Sequence[Object], kind: Kind, word: str) -> Object:
    exact = [item for item in objects if word in (item.get("name"), item.get("id"))]
    short = [item for item in objects if str(item.get("id") or "").startswith(word)]
    found = exact or (short if len(word) >= SHORTEST else [])
    if len(found) == 1:
        return found[0]
    if found:
        raise _ambiguous(found, kind, word)
    if short:
        why = f"of an id at least {SHORTEST} characters are needed"
        raise NotFound(f"there is no {kind.word} {word!r}", why, "write more of the id")
    raise NotFound(
        f"there is no {kind.word} {word!r}", fix=f"iaasctl get {kind.plural} shows which there are"
    )


def _ambiguous(found: Sequence[Object], kind: Kind, word: str) -> Invalid:
    lines = [f"{item.get('id')}  {name_of(item)}  {state(item)}" for item in found[:SHOWN]]
    if rest := len(found) - len(lines):
        lines.append(f"... and {rest} more")
    return Invalid(
        f"{word!r} may be any of {len(found)} {kind.plural}",
        "\n".join(lines),
        "write more of the id",
    )
