"""The kinds as people type them: singular, plural, short. Not here: what is in them."""

from typing import NamedTuple

from iaasctl.errors import Invalid


class Kind(NamedTuple):
    """`name` as in manifests, `word` as people say it, `plural` as in the API."""

    name: str
    word: str
    plural: str
    aliases: tuple[str, ...]


NODE = Kind("Node", "node", "nodes", ("no",))
IMAGE = Kind("Image", "image", "images", ("img", "imgs"))
MACHINE = Kind("Machine", "machine", "machines", ("vm", "vms", "m"))
KINDS = (NODE, IMAGE, MACHINE)
SOURCE = Kind("Source", "source", "sources", ("src",))
"""A watched directory: shown like an object, but no manifest makes one."""
SHOWN = (*KINDS, SOURCE)
BY_NAME = {kind.name: kind for kind in KINDS}


def kind_of(word: str) -> Kind:
    """The kind that `word` names; raises Invalid with a suggestion."""
    lower = word.lower()
    for kind in SHOWN:
        if lower in (kind.word, kind.plural, *kind.aliases):
            return kind
    raise Invalid(f"there is no kind {word!r}", fix=_suggestion(lower))


def _suggestion(word: str) -> str:
    from manifests.problem import did_you_mean

    meant = did_you_mean(
        word, [name for kind in SHOWN for name in (kind.word, kind.plural, *kind.aliases)]
    )
    return meant or "the kinds are node, image, machine and source"


def keys_of(words: tuple[str, ...]) -> tuple[Kind, list[str]]:
    """`machine web1 web2`, `machine/web1 machine/web2` -> the kind and the names."""
    first, slash, name = words[0].partition("/")
    kind = kind_of(first)
    names = [name] if slash else []
    for word in words[1:]:
        prefix, slash, rest = word.partition("/")
        if slash and kind_of(prefix) is not kind:
            raise Invalid(
                f"{word!r} is not a {kind.word}", fix="name objects of one kind at a time"
            )
        names.append(rest if slash else word)
    if "" in names:
        raise Invalid(f"the name of a {kind.word} is missing", fix=f"write {kind.word}/NAME")
    return kind, names
