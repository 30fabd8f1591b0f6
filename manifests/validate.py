"""Whether plain data is a manifest, or a set of them: every fault, in sentences, with its path.

Here: the schema of the document's kind, then the codec, then the checks, put together. Not here:
files and positions (`load`), and the words (`sentences`).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from manifests.checks import SetFault, check, check_set, spec_faults
from manifests.codec import CodecError, Json, kind_of
from manifests.kinds import API_VERSION, KINDS, Kind, Manifest, manifest_from, schema_for
from manifests.lenient import spec_of
from manifests.load import Document, steps_of
from manifests.problem import Fault, Path, Problem, did_you_mean, shown
from manifests.sentences import faults_of

MOST = 100
"""Faults said of one document; nobody reads more, and a hostile one could have thousands."""
MOST_OF_SET = 5000
"""Faults after which no more documents of a set are looked at."""


def validate(data: Json) -> tuple[Fault, ...]:
    """All that is wrong with one document."""
    return parse(data)[1]


def parse(data: Json) -> tuple[Manifest | None, tuple[Fault, ...]]:
    """The document as a typed manifest, or else what is wrong with it."""
    if not isinstance(data, dict):
        return None, (Fault((), f"expected an object with fields, got {kind_of(data)}"),)
    kind = _kind(data)
    if kind is None:
        return None, tuple(_header(data))
    faults = tuple(islice(_merged(_all(kind, data)), MOST))
    if faults:
        return None, faults
    try:
        manifest = manifest_from(data)
    except CodecError as error:  # Nothing should be left for it, but it has the last word.
        return None, (Fault(steps_of(error.path, data), error.message),)
    return manifest, check(manifest)


def parse_set(documents: Sequence[Json]) -> tuple[list[Manifest], list[SetFault]]:
    """The documents as typed manifests, and all that is wrong with them, by their index.

    Only without faults are these all the manifests, in the order of the documents. With more than
    MOST_OF_SET faults these are not all.
    """
    manifests: list[Manifest] = []
    faults: list[SetFault] = []
    for index, data in enumerate(documents):
        manifest, found = parse(data)
        faults += [(index, fault) for fault in found]
        manifests += [manifest] if manifest else []
        if len(faults) > MOST_OF_SET:
            break
    return manifests, faults or check_set(manifests)


def validate_documents(documents: Sequence[Document]) -> list[Problem]:
    """All that is wrong with loaded documents, each and together, by place."""
    problems: list[Problem] = []
    typed: list[tuple[Document, Manifest]] = []
    for document in documents:
        manifest, faults = parse(document.data)
        problems += [
            problem_of(document, fault) for fault in faults if not _is_said(document, fault.path)
        ]
        if manifest and not document.flawed:
            typed.append((document, manifest))
    for index, fault in check_set([manifest for _, manifest in typed]):
        first = typed[fault.first][0] if fault.first is not None else None
        problems.append(problem_of(typed[index][0], fault, first))
    return sorted(problems)


def problem_of(document: Document, fault: Fault, first: Document | None = None) -> Problem:
    """The fault with its place; `first` is the document that `fault.first` counts to."""
    message = fault.message
    if first is not None:
        place = first.problem(("metadata", "name"), "")
        message = f"{message} (see {place.file}:{place.line})"
    return document.problem(fault.path, message, fault.hint, key=fault.key)


def _is_said(document: Document, path: Path) -> bool:
    """Whether the field, or one around it, has its problem from reading."""
    return any(path[: len(flaw)] == flaw for flaw in document.flawed)


def _kind(data: dict[str, Any]) -> Kind | None:
    name = data.get("kind")
    return KINDS.get(name) if isinstance(name, str) else None


def _header(data: dict[str, Any]) -> Iterator[Fault]:
    """The faults of a document that does not say what it is: the fields that should."""
    version = f"write apiVersion: {API_VERSION}"
    if "apiVersion" not in data:
        yield Fault(("apiVersion",), "missing", version)
    elif data["apiVersion"] != API_VERSION:
        yield Fault(("apiVersion",), f"{_quoted(data['apiVersion'])} is not known", version)
    listed = ", ".join(KINDS)
    if "kind" not in data:
        yield Fault(("kind",), "missing", f"write one of {listed}")
    else:
        name = data["kind"]
        hint = did_you_mean(name, KINDS) if isinstance(name, str) else ""
        yield Fault(("kind",), f"{_quoted(name)} is not one of {listed}", hint)


def _quoted(value: Json) -> str:
    return kind_of(value) if isinstance(value, dict | list) else shown(value)


def _all(kind: Kind, data: dict[str, Any]) -> Iterator[Fault]:
    """Codec first: its sentences know the scalar. Checks only see fields that could be read."""
    found: list[Fault] = []
    raw = data.get("spec")
    spec = spec_of(kind.spec, raw, ("spec",), found) if isinstance(raw, dict) else None
    yield from found
    for error in validator(kind.name).iter_errors(data):
        yield from faults_of(error)
    if spec is not None:
        yield from spec_faults(spec)


def _merged(faults: Iterable[Fault]) -> Iterator[Fault]:
    """The first fault of each path."""
    seen: set[Path] = set()
    for fault in faults:
        if fault.path not in seen:
            seen.add(fault.path)
            yield fault


@cache
def validator(kind: str) -> Validator:
    """The validator of a kind, built once."""
    strict: Validator = _STRICT(schema_for(KINDS[kind]))
    return strict


def _pattern(
    _: Validator, pattern: str, instance: Json, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    """`$` of Python also matches before a last line end; ours are the end of the text."""
    strict = f"{pattern[:-1]}\\Z" if pattern.endswith("$") else pattern
    if isinstance(instance, str) and not re.search(strict, instance):
        yield ValidationError("does not match")


def _unique(
    _: Validator, unique: bool, instance: Json, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    """Of texts only, in linear time; anything else in such a list is an error anyway."""
    texts = isinstance(instance, list) and all(isinstance(item, str) for item in instance)
    if unique and texts and len(set(instance)) < len(instance):
        yield ValidationError("has an item twice")


def _unless_too_many(keyword: str, bound: str) -> Any:
    """The keyword's check, left out where there are too many: that is said, and no more is read."""
    check = Draft202012Validator.VALIDATORS[keyword]

    def bounded(validator: Validator, value: Any, instance: Json, schema: dict[str, Any]) -> Any:
        sized = isinstance(instance, dict | list)
        if not (sized and len(instance) > schema.get(bound, len(instance))):
            yield from check(validator, value, instance, schema) or ()

    return bounded


_STRICT: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        "pattern": _pattern,
        "uniqueItems": _unique,
        "items": _unless_too_many("items", "maxItems"),
        "propertyNames": _unless_too_many("propertyNames", "maxProperties"),
        "additionalProperties": _unless_too_many("additionalProperties", "maxProperties"),
    },
)
