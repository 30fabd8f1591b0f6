"""Errors of jsonschema -> faults in sentences for people: one function per keyword, one table.

Here: words. Not here: which schema, and when. Values are quoted only where a typing mistake is
likely to be in them; never those of `env` and `command`, which may be secrets.
"""

from collections.abc import Callable, Iterator
from typing import Any

from manifests.codec import kind_of
from manifests.kinds import LABEL
from manifests.kinds.machine import ENV_NAME, PLAIN_TEXT
from manifests.problem import SECRET, Fault, Path, did_you_mean, printable, shown
from manifests.scalars import NAME_HINT, NAME_PATTERN

Error = Any  # jsonschema.ValidationError, whose attributes are typed as perhaps not set

TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object with fields",
}
FOUND = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object with fields",
}
PATTERN_HINTS = {
    NAME_PATTERN: NAME_HINT,
    LABEL: "use 1-63 characters a-z, A-Z, 0-9, '.', '_', '/' and -, with a letter or digit at both ends",
    ENV_NAME: "use letters, digits and _, not starting with a digit",
    PLAIN_TEXT: "remove line ends and control characters",
}


def faults_of(error: Error) -> Iterator[Fault]:
    """The faults that one error stands for."""
    path: Path = tuple(error.absolute_path)
    if len(error.absolute_schema_path) > 1 and error.absolute_schema_path[-2] == "propertyNames":
        yield _wrong_key(error, path)
    else:
        yield from SENTENCES.get(str(error.validator), _other)(error, path)


def _wrong_key(error: Error, path: Path) -> Fault:
    name = str(error.instance)
    if error.validator == "not":
        message, hint = "is reserved", "use a key that does not begin with iaas"
    else:
        message, hint = "cannot be a name here", _pattern_hint(error)
    return Fault((*path, name), f"{shown(name)} {message}", hint, key=True)


def _unknown(error: Error, path: Path) -> Iterator[Fault]:
    known = error.schema["properties"]
    for name in error.instance:
        if name not in known:
            hint = did_you_mean(name, known) or f"the fields here are {', '.join(known)}"
            yield Fault((*path, name), "unknown field", hint, key=True)


def _missing(error: Error, path: Path) -> Iterator[Fault]:
    for name in error.validator_value:
        if name not in error.instance:
            schema = error.schema["properties"][name]
            wanted = schema.get("const") or " or ".join(schema.get("enum") or _examples(schema))
            yield Fault((*path, name), "missing", f"write {name}: {wanted}" if wanted else "add it")


def _type(error: Error, path: Path) -> Iterator[Fault]:
    found = error.instance
    if found is not None and "enum" in error.schema:
        yield from _choice(error, path)
        return
    if found is None:
        yield Fault(path, "has no value", _hint(error.schema) or "write one, or remove the field")
        return
    hint = _hint(error.schema) if _examples(error.schema) else ""
    if error.validator_value == "string" and isinstance(found, int | float):
        hint = hint or "quote it"
    yield Fault(path, f"expected {TYPES[error.validator_value]}, got {FOUND[type(found)]}", hint)


def _choice(error: Error, path: Path) -> Iterator[Fault]:
    choices = error.schema["enum"]
    hint = did_you_mean(error.instance, choices) if isinstance(error.instance, str) else ""
    listed = ", ".join(choices)
    if isinstance(error.instance, dict | list):
        yield Fault(path, f"must be one of {listed}, not {kind_of(error.instance)}")
    else:
        yield Fault(path, f"{shown(error.instance)} is not one of {listed}", hint)


def _constant(error: Error, path: Path) -> Iterator[Fault]:
    wanted = error.validator_value
    is_scalar = not isinstance(error.instance, dict | list)
    found = shown(error.instance) if is_scalar else kind_of(error.instance)
    yield Fault(path, f"{found} is not known here", f"write {wanted}")


def _pattern(error: Error, path: Path) -> Iterator[Fault]:
    if SECRET & set(path):
        message = "holds a line end or a character that cannot be passed on"
    elif error.validator_value == NAME_PATTERN:
        message = f"{shown(error.instance)} is not a name"
    else:
        message = f"{shown(error.instance)} is not valid"
    yield Fault(path, message, _pattern_hint(error))


def _bound(error: Error, path: Path) -> Iterator[Fault]:
    word = "least" if error.validator == "minimum" else "most"
    yield Fault(
        path, f"{shown(error.instance)} is out of range", f"at {word} {error.validator_value}"
    )


def _count(what: str, bound: str) -> Callable[[Error, Path], Iterator[Fault]]:
    def sentence(error: Error, path: Path) -> Iterator[Fault]:
        size = len(error.instance)
        yield Fault(path, f"has {size} {what}", f"at {bound} {error.validator_value}")

    return sentence


def _twice(error: Error, path: Path) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    for index, item in enumerate(error.instance):
        first = seen.setdefault(item, index)
        if first != index:
            yield Fault((*path, index), f"{shown(item)} is there twice", "remove one")


def _any_of(error: Error, path: Path) -> Iterator[Fault]:
    found = error.instance
    message = kind_of(found) if isinstance(found, dict | list) else shown(found)
    yield Fault(path, f"{message} is not valid", _hint(error.schema))


def _other(error: Error, path: Path) -> Iterator[Fault]:
    yield Fault(path, "is not valid", _hint(error.schema))


def _hint(schema: dict[str, Any]) -> str:
    """What to write, by the schema of the field."""
    if examples := _examples(schema):
        return f"write {' or '.join(examples)}"
    if choices := schema.get("enum"):
        return f"write {' or '.join(choices)}"
    return PATTERN_HINTS.get(schema.get("pattern", ""), "")


def _examples(schema: dict[str, Any]) -> list[str]:
    return [str(example) for example in schema.get("examples", ())[:2]]


def _pattern_hint(error: Error) -> str:
    return _hint(error.schema) or f"it must match {printable(error.validator_value)}"


SENTENCES: dict[str, Callable[[Error, Path], Iterator[Fault]]] = {
    "additionalProperties": _unknown,
    "required": _missing,
    "type": _type,
    "enum": _choice,
    "const": _constant,
    "pattern": _pattern,
    "minimum": _bound,
    "maximum": _bound,
    "minLength": _count("characters", "least"),
    "maxLength": _count("characters", "most"),
    "maxItems": _count("items", "most"),
    "maxProperties": _count("fields", "most"),
    "uniqueItems": _twice,
    "anyOf": _any_of,
}
