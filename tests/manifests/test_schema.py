"""The schema of each kind is a valid one, and says what the codec does."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from manifests.codec import json_fields
from manifests.kinds import KINDS, LABEL, LABEL_VALUE, Kind, schema_for
from manifests.scalars import Address, Cpus, Memory, Name, Port, Sha256, Uid
from manifests.sentences import PATTERN_HINTS, SENTENCES
from manifests.validate import validate, validator
from tests.manifests.making import document

ALL = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
ANNOTATIONS = {"$schema", "title", "description", "default", "examples", "format"}
STRUCTURE = {"properties", "propertyNames", "items", "not"}
SPECS = {
    "Machine": {"image": "nginx"},
    "Image": {"type": "docker"},
    "Node": {"address": "a:1"},
}


def parts(schema: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(name of the field, schema) of the schema and of all schemas in it."""
    yield name, schema
    for field, inner in schema.get("properties", {}).items():
        yield from parts(inner, field)
    for word in ("items", "additionalProperties", "propertyNames", "not"):
        if isinstance(inner := schema.get(word), dict):
            yield from parts(inner, name)
    for inner in schema.get("anyOf", ()):
        yield from parts(inner, name)


@ALL
def test_the_schema_of_a_kind_is_valid(kind: Kind) -> None:
    Draft202012Validator.check_schema(schema_for(kind))


@ALL
def test_the_smallest_document_of_a_kind_is_valid(kind: Kind) -> None:
    assert validate(document(kind.name, SPECS[kind.name])) == ()


def test_examples_and_defaults_are_valid() -> None:
    seen = 0
    for kind in KINDS.values():
        for name, schema in parts(schema_for(kind)):
            checker = validator(kind.name).evolve(schema=schema)
            defaults = [schema["default"]] if "default" in schema else []
            for value in [*schema.get("examples", ()), *defaults]:
                assert list(checker.iter_errors(value)) == [], name
                seen += 1
    assert seen > 10


@pytest.mark.parametrize("scalar", [Memory, Cpus, Port, Address], ids=lambda cls: cls.__name__)
def test_examples_of_a_scalar_are_read(scalar: Any) -> None:
    for example in scalar.SCHEMA["examples"]:
        assert scalar.from_json(scalar.from_json(example).to_json()) == scalar.from_json(example)


@ALL
def test_every_field_is_documented(kind: Kind) -> None:
    described = schema_for(kind)["properties"]["spec"]["properties"]
    assert set(described) == {name for _, name in json_fields(kind.spec)}
    assert all(schema["description"] for schema in described.values())


@ALL
def test_every_keyword_has_its_sentence(kind: Kind) -> None:
    for _, schema in parts(schema_for(kind)):
        assert set(schema) <= set(SENTENCES) | ANNOTATIONS | STRUCTURE


@ALL
def test_every_pattern_has_its_hint(kind: Kind) -> None:
    without = {LABEL_VALUE, "^iaas[./]", Sha256.SCHEMA["pattern"]}
    for name, schema in parts(schema_for(kind)):
        if "pattern" in schema and name not in ("file", "cpus"):
            known = schema["pattern"] in PATTERN_HINTS or "examples" in schema
            assert known or schema["pattern"] in without, name
    assert LABEL in PATTERN_HINTS


@pytest.mark.parametrize("scalar", [Memory, Cpus, Port, Name, Sha256, Uid, Address])
@pytest.mark.parametrize("data", [None, [], {}, True, "", " ", "x\n", -1, float("nan"), 10**400])
def test_no_scalar_takes_what_it_is_not(scalar: Any, data: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        scalar.from_json(data)


def test_every_step_of_cpus_survives() -> None:
    steps = [*range(10, 5000), *range(5000, 1_024_000, 37), 1_024_000]
    assert [Cpus.from_json(Cpus(step).to_json()) for step in steps] == steps
