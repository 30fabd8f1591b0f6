"""Hostile and ambiguous YAML is refused with its line, at once; ordinary YAML is read as written.

Ids such as M13 are those of the list of hostile inputs that this answers to.
"""

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from manifests import guard
from manifests.guard import Limits, read
from manifests.load import load_text
from manifests.plain import FIRST, VALUES, Bent, plain
from manifests.positions import positions_of
from tests.manifests.making import assert_says, patient

FILE = "x.yaml"
MERGE_BOMB = "a: &a {x: 1}\n" + "".join(
    f"b{n}: &b{n} {{<<: [*a, *a, *a, *a, *a, *a]}}\n" for n in range(9)
)


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(guard, "LOADER", getattr(yaml, request.param))
    return str(request.param)


HOSTILE = [
    ("M1-alias-bomb", "a: &a [x]\nb: [*a, *a]\n", 1, "anchor &a is not supported"),
    ("M1-alias", "a: 1\nb: [*a, *a]\n", 2, "alias *a is not supported"),
    ("M2-merge-bomb", MERGE_BOMB, 2, "merge keys are not supported"),
    ("M4-brackets", "[" * 100_000, 1, "nested deeper than 32"),
    ("M4-braces", "{a: " * 100_000, 1, "nested deeper than 32"),
    ("M4-dashes", "- " * 100_000, 1, "nested deeper than 32"),
    ("M4-open-braces", "{" * 100_000, 1, "a key must be text"),
    ("M5-deep-map", "".join(f"{' ' * n}a:\n" for n in range(500)), 33, "nested deeper than 32"),
    ("M7-nodes-block", "a:\n" + "- 1\n" * 20_001, 19_999, "more than 20000 values"),
    ("M7-nodes-flow", "a: [" + "1," * 200_000 + "]", 1, "more than 20000 values"),
    ("M8-python-tag", "a: !!python/object/apply:os.system [id]\n", 1, "tag"),
    ("M8-str-tag", "a: 1\nb: !!str 1\n", 2, "tag"),
    ("M8-bare-tag", "a: ! x\n", 1, "tag '!' is not supported"),
    ("M8-tag-directive", "%TAG ! tag:x,2000:\n---\na: 1\n", 1, "tags are not supported"),
    ("M8-many-tag-directives", "%TAG !a! x\n" * 100_000, 1, "tags are not supported"),
    ("M10-duplicate", "a: 1\nb: 2\na: 3\n", 3, "duplicate key on lines 1 and 3"),
    ("M10-duplicate-quoted", 'a: {b: 1,\n "b": 2}\n', 2, "duplicate key on lines 1 and 2"),
    ("M10-json", '{"a": 1,\n"b": {"c": 1,\n"c": 2}}', 3, "duplicate key on lines 2 and 3"),
    ("M13-base-60", "ports:\n- 80:59\n", 2, "80:59 is a number in base 60"),
    ("M13-mac", "mac: 52:54:00:12:34:56", 1, "base 60"),
    ("M14-no", "name: no", 1, "'no' means false"),
    ("M14-On", "name: On", 1, "'On' means true"),
    ("M14-y", "name: y", 1, "'y' means true"),
    ("M14-True", "name: True", 1, "'True' means true"),
    ("M14-key", "on: push", 1, "'on' means true"),
    ("M14-tilde", "a: 1\nname: ~\n", 2, "name: has no value"),
    ("M14-null", "name: null", 1, "name: has no value"),
    ("M14-Null", "name: Null", 1, "'Null' means null"),
    ("M14-nothing", "a:\nb: 1\n", 1, "a: has no value"),
    ("M14-nothing-in-list", "a:\n- 1\n-\n", 3, "a[1]: has no value"),
    ("M14-exponent", "name: 1e3", 1, "1e3 is a number with an exponent"),
    ("M14-octal", "name: 010", 1, "010 is an octal number"),
    ("M14-octal-1.2", "name: 0o17", 1, "0o17 is an octal number"),
    ("M14-not-even-octal", "name: 089", 1, "unusual way"),
    ("M14-binary", "name: 0b11", 1, "0b11 is a binary number"),
    ("M14-date", "name: 2024-01-01", 1, "2024-01-01 is a date"),
    ("M14-bad-date", "name: 2024-99-99", 1, "is a date"),
    ("M14-time", "name: 2024-01-01 10:00:00 +1", 1, "is a date"),
    ("M14-version", "version: 1.10", 1, "1.10 is a number that reads back as 1.1"),
    ("M14-precision", "a: 0.12345678901234567", 1, "reads back as"),
    ("M14-leading-dot", "a: .5", 1, "unusual way"),
    ("M14-trailing-dot", "a: 5.", 1, "unusual way"),
    ("M14-minus-zero", "a: -0", 1, "unusual way"),
    ("M14-value-key", "=: a", 1, "special meaning"),
    ("M16-digits", "a: " + "9" * 5000, 1, "more digits than a number can keep"),
    ("M16-19-digits", "a: 1000000000000000000", 1, "more digits than a number can keep"),
    ("M16-hex", "a: 0x" + "f" * 5000, 1, "is a hexadecimal number"),
    ("M16-underscores", "a: " + "1_" * 100_000, 1, "unusual way"),
    ("M16-base-60", "a: " + "1:" * 100_000 + "1", 1, "base 60"),
    ("M17-inf", "memory: .inf", 1, "not a finite number"),
    ("M17-nan", "memory: .NaN", 1, "not a finite number"),
    ("M17-exponent", "memory: 1e999", 1, "exponent"),
    ("M17-minus-inf", "memory: -.INF", 1, "not a finite number"),
    ("M20-plus", "memory: +5", 1, "unusual way"),
    ("M20-underscore", "memory: 1_0", 1, "unusual way"),
    ("M26-nul", "a: 1\nb: x\0y", 2, "U+0000"),
    ("M26-vertical-tab", "a: 1\r\nb: \x0b", 2, "U+000B"),
    ("M26-fffe", "a: \ufffe", 1, "U+FFFE"),
    ("M26-surrogate", "a: \ud800", 1, "U+D800"),
    ("M26-next-line", "a: b\x85", 1, "U+0085"),
    ("M26-line-separator", "a: b\u2028c", 1, "U+2028"),
    ("M26-escaped-nul", '\na: "x\\0"', 2, "control character"),
    ("M26-escaped-fffe", 'a: "\\uFFFE"', 1, "control character"),
    ("M26-escaped-surrogate", '\na: "\\ud800"', 2, ""),
    ("M26-huge-escape", 'a: "\\UFFFFFFFF"', 1, "not YAML"),
    ("M49-utf-16", "a: 1".encode("utf-16"), 1, "UTF-16"),
    ("M49-utf-16-without-bom", "a: 1".encode("utf-16-le"), 1, "UTF-16"),
    ("M49-utf-32", "a: 1".encode("utf-32-be"), 1, "UTF-16 or UTF-32"),
    ("M49-latin-1", b"a: 1\nb: caf\xe9\n", 2, "byte 0xe9 is not UTF-8"),
    ("M49-surrogate-bytes", b"a: \xed\xa0\x80", 1, "is not UTF-8"),
    ("M49-tab", "a: 1\nb:\n\tc: 1\n", 3, ""),
    ("M49-inner-bom", "a: 1\n\ufeffb: 1\n", 2, "U+FEFF"),
    ("M50-scalar", "hello", 1, "a document must be an object with fields, not a string"),
    ("M50-list", "# only\n- a\n", 2, "a document must be an object with fields, not a list"),
    ("M50-tilde", "~", 1, "has no value"),
    ("M50-empty", "", 1, "no documents"),
    ("M50-comment", "# nothing\n---\n", 1, "no documents"),
    ("key-number", "a: 1\n8080: x\n", 2, "key '8080' is not text"),
    ("key-null", "a: {~: x}", 1, "key '~' is not text"),
    ("key-list", "? [a]\n: b\n", 1, "a key must be text"),
    ("syntax", "a: 1\nb: [1, 2\n", 3, "not YAML"),
    ("syntax-colon", "a: b: c", 1, "quote a value that holds ': '"),
    ("yaml-3", "%YAML 3.0\n---\na: 1\n", 1, "not YAML"),
]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [case[1:] for case in HOSTILE],
    ids=[case[0] for case in HOSTILE],
)
def test_hostile_text_is_refused(loader: str, text: str | bytes, line: int, message: str) -> None:
    begin = time.monotonic()
    _, problems = load_text(text, FILE)
    assert time.monotonic() - begin < (1 if loader == "CSafeLoader" else 10)
    assert_says(problems, line, message)


FINE = [
    ("text", "a: nginx:1.25\nb: 10.0.0.1:7701\nc: 8080:80\n"),
    ("more-text", "a: 1.2.3\nb: now\nc: 1m\nd: -v\ne: 2024-01-01x\nf: .\ng: 0x\nh: 1-2\n"),
    ("numbers", "a: 0\nb: -1\nc: 0.5\nd: 1.0\ne: 999999999999999999\nf: -0.25\n"),
    ("booleans", "a: true\nb: false\n"),
    ("quoted", "a: 'no'\nb: \"22:22\"\nc: '~'\n'on': ''\n'1': x\n\"<<\": x\n"),
    ("blocks", "a: |\n  no\n  1e3\nb: >-\n  x\n  y\n"),
    ("nested", "a: {b: [1, {c: d}], e: []}\nf:\n- - x\n- {}\n"),
    ("M49-bom-crlf", "\ufeffa: 1\r\nb: 2\r\n"),
    ("documents", "---\na: 1\n---\n# nothing here\n---\nb: 2\n...\n---\n{c: 3}\n"),
    ("version", "%YAML 1.1\n---\na: 1\n"),
    ("json", json.dumps({"a": ["\u00e9", 1, True, "x/y", {"b": "\\ud83d"}]})),
    ("emoji", "a: \U0001f600 x\n"),
]


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize("text", [case[1] for case in FINE], ids=[case[0] for case in FINE])
def test_ordinary_text_is_read_as_pyyaml_reads_it(text: str) -> None:
    documents, problems = load_text(text, FILE)
    assert problems == []
    expected = [data for data in yaml.load_all(text, guard.LOADER) if data is not None]
    assert [document.data for document in documents] == expected
    assert load_text(text.encode(), FILE)[1] == []


def test_json_may_write_characters_as_surrogate_pairs() -> None:
    data = {"a": "\U0001f600", "b": r"\ud83d\ude00", "c": "\\\U0001f600"}
    documents, problems = load_text(json.dumps(data, indent=1), FILE)
    assert problems == []
    assert documents[0].data == data


def test_yaml_keeps_what_only_looks_like_a_surrogate_pair() -> None:
    text = "{a: '\\ud83d\\ude00'}"
    assert load_text(text, FILE)[0][0].data == {"a": "\\ud83d\\ude00"}


def test_every_problem_of_a_text_is_said() -> None:
    text = (
        "a: no\nb:\n  - x: 22:22\n    on: 3\n  - ~\nb: 2\nc: {<<: 3, x: *d}\n---\n- 1\n---\nx: [\n"
    )
    _, problems = read(text, FILE)
    assert [(problem.line, problem.column, problem.field) for problem in problems] == [
        (1, 4, "a"),
        (3, 8, "b[0].x"),
        (4, 5, "b[0].on"),
        (5, 5, "b[1]"),
        (6, 1, "b"),
        (7, 5, "c['<<']"),
        (7, 15, "c.x"),
        (9, 1, ""),
        (12, 1, ""),
    ]


@pytest.mark.parametrize("value", ["0123456", "12:34:56", "yes", "1_000", "1.10", "2026-01-02"])
@pytest.mark.parametrize("field", ["env: {PASSWORD: %s}", "command: [serve, %s]"])
def test_what_may_be_a_secret_is_not_quoted(loader: str, field: str, value: str) -> None:
    _, (problem,) = read(f"spec:\n  {field % value}\n", "f")
    assert value not in str(problem)
    assert problem.message == "is no text in YAML as it is written"


def test_a_problem_reads_as_one_line() -> None:
    (problem,) = read("a:\n  b: no\n", FILE)[1]
    said = "x.yaml:2:6: a.b: 'no' means false in YAML; quote it: \"no\", or write false"
    assert str(problem) == said


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(size=5), "larger than 5 bytes"),
        (Limits(depth=1), "deeper than 1"),
        (Limits(nodes=3), "more than 3 values"),
        (Limits(documents=1), "more than 1 documents"),
    ],
    ids=["size", "depth", "M7-nodes", "M11-documents"],
)
def test_limits(limits: Limits, message: str) -> None:
    text = "a: {b: 1}\n---\na: 1\n"
    assert read(text, FILE)[1] == []
    assert message in str(read(text, FILE, limits)[1][-1])


def test_a_limit_is_exact() -> None:
    assert read("a: [1, 2]", FILE, Limits(size=9, depth=2, nodes=5, documents=1))[1] == []
    assert read("a: " + "9" * 18, FILE)[1] == []


@pytest.mark.parametrize("text", ["--- {a: no}\n", "a: 1\n", "- [no]\n", "---\n- a\n"])
def test_no_more_problems_are_said_than_are_read(text: str) -> None:
    _, problems = read(text * 5000, FILE)
    assert len(problems) == LIMIT + 1
    assert "the rest was not read" in problems[-1].message


LIMIT = Limits().problems


@pytest.mark.usefixtures("loader")
def test_positions_are_those_of_keys_and_values() -> None:
    text = "é: x\r\n---\r\na:\r\n  - b: 1\r\n    ü: {c: '😀', d: 2}\r\n...\r\n---\r\nlast:   1\r\n"
    documents, problems = load_text(text, FILE)
    assert problems == []
    second, third = documents[1].positions, documents[2].positions
    assert second.keys[("a",)] == (3, 1)
    assert second.values[("a",)] == (4, 3)
    assert second.values[("a", 0, "b")] == (4, 8)
    assert second.keys[("a", 0, "ü", "d")] == (5, 17)
    assert second.values[("a", 0, "ü", "d")] == (5, 20)
    assert third.values[("last",)] == (8, 9)


def test_positions_of_what_is_missing_are_those_of_its_parent() -> None:
    positions = positions_of("a:\n  b: 1\nc: [1]\n")
    assert positions.find(("a", "x", "y")) == (1, 1)
    assert positions.find(("a", "b")) == (2, 6)
    assert positions.find(("a", "b"), key=True) == (2, 3)
    assert positions.find(("c", 7)) == (3, 1)
    assert positions_of("").find(("a",)) == (1, 1)


@pytest.mark.parametrize("first", sorted(set(map(chr, range(1, 127))) - FIRST))
def test_only_the_listed_first_characters_need_a_look(first: str) -> None:
    for rest in ("", "1", "es", "o", "ull", "rue", ":30", ".5", "inf", "x1f"):
        assert plain(first + rest) == first + rest


SIGNS = [*" \t\n\r:-?,[]{}#&*!|>'\"%@`~=<.+_0159aeinoxyNOEé\\\ufeff", "\n  ", ": ", "- ", "\\u"]
WORDS = ["---\n", "...\n", "yes", "no", "null", "true", "2024-01-01", "1.10", "%TAG", "<<: "]
PIECES = st.sampled_from(SIGNS + WORDS)
YAMLISH = st.lists(PIECES, max_size=40).map("".join)


@patient
@given(st.one_of(st.text(), st.binary(), YAMLISH))
@example("'" * 5)
@example("\x80")
def test_no_text_raises(source: str | bytes) -> None:
    documents, problems = load_text(source, FILE)
    assert documents or problems
    for document in documents:
        assert document.positions.values


@patient
@given(YAMLISH)
def test_what_is_accepted_is_what_pyyaml_would_load(text: str) -> None:
    documents, problems = load_text(text, FILE)
    if not problems:
        expected = [data for data in yaml.load_all(text, guard.LOADER) if data is not None]
        assert [document.data for document in documents] == expected


DATA = st.recursive(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs", "Cc"])),
        st.booleans(),
        st.integers(-(10**17), 10**17),
        st.floats(-1e6, 1e6).map(lambda x: round(x, 3) + 0.0),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text("abcXYZ é-", min_size=1), inner)
    ),
    max_leaves=20,
)


@patient
@given(st.dictionaries(st.text("abcXYZ é-", min_size=1), DATA))
def test_ordinary_data_survives(data: dict[str, Any]) -> None:
    for text in (yaml.safe_dump(data, allow_unicode=False), json.dumps(data)):
        documents, problems = load_text(text, FILE)
        # PyYAML leaves words such as `y` and numbers such as 1e-05 plain, which is refused here.
        if not problems:
            assert [document.data for document in documents] == [data]
        assert all("means" in item.message or "number" in item.message for item in problems)


@patient
@given(st.text("0123456789.-+_:eExoabfnyTZ ", max_size=12))
def test_a_plain_scalar_means_what_pyyaml_says_or_is_refused(text: str) -> None:
    text = text.strip()
    try:
        value = plain(text)
    except Bent:
        return
    if text not in VALUES:
        assert str(value) == text
        resolver = yaml.SafeLoader("")
        tag = resolver.resolve(yaml.ScalarNode, text, (True, False))
        assert tag == f"tag:yaml.org,2002:{type(value).__name__}"
