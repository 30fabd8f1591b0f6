"""A server that wants to do something to the terminal, or to break the program: it cannot."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.iaasctl.conftest import Run
from tests.iaasctl.scripted import Server, image, line, machine, node

EVIL = "x\x1b]52;c;cm0gLXJm\x07\x1b[2J\rroot@host\n\x9b1m\u202e\u2028\x00\ud800z"
UNSAFE = "\x1b\x07\r\x9b\u202e\u2028\x00\ud800"
COMMANDS = [
    ("get", "all"),
    ("get", "machines", "-o", "wide"),
    ("get", "machines", "-o", "json"),
    ("get", "machines", "-o", "yaml"),
    ("get", "all", "-o", "name"),
    ("get", "vm", "id-1", "-o", "wide"),
    ("describe", "machine", "id-1"),
    ("describe", "node", "id-1"),
    ("describe", "image", "id-1"),
    ("events",),
    ("events", "-o", "wide"),
    ("audit", "-o", "wide"),
    ("version",),
    ("plan",),
    ("apply",),
    ("apply", "--wait", "--timeout", "0s"),
    ("delete", "vm", "x", "--wait", "--timeout", "0s"),
]


def poisoned(value: Any) -> Any:
    """The same structure with evil keys added and every text evil."""
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()} | {EVIL: EVIL}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return EVIL if isinstance(value, str) else value


@pytest.fixture
def evil(server: Server) -> Server:
    identity = {"id": "id-1"}
    server.lists = {
        "machines": [poisoned(machine("a", "pending")) | identity],
        "nodes": [poisoned(node("a", "joining")) | identity],
        "images": [poisoned(image("a")) | identity],
        "events": [
            poisoned({"at": 1.0, "kind": "k", "name": "n", "reason": "r", "message": "m"})
            | {"id": 1}
        ],
        "audit": [poisoned({"at": 1.0, "who": "w", "objects": ["a"] * 5, "message": "m"})],
    }
    change = {"field": "image", "old": "a", "new": ["b"], "effect": "replace", "why": "w"}
    server.lines = [
        poisoned(line("create", "Machine", "x", "why", changes=[change])),
        line("delete", "Machine", EVIL, EVIL),
    ]
    server.fail["/health"] = (200, {"version": EVIL})
    return server


def is_safe(text: str) -> bool:
    return not any(character in text for character in UNSAFE)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_nothing_evil_reaches_the_terminal(
    evil: Server, run: Run, manifest: Path, words: tuple[str, ...]
) -> None:
    files = ("-f", str(manifest)) if words[0] in ("plan", "apply") else ()
    ran = run(*words, *files)
    assert ran.out
    assert is_safe(ran.out)
    assert is_safe(ran.err)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500, 503])
def test_evil_errors_are_safe_too(server: Server, run: Run, manifest: Path, status: int) -> None:
    fault = {"index": 0, "path": ["spec", EVIL], "message": EVIL, "hint": EVIL}
    error = {
        "error": EVIL,
        "message": EVIL,
        "field": EVIL,
        "hint": EVIL,
        "conflicts": [{"message": EVIL}, 7],
        "faults": [fault],
    }
    server.fail |= {"/iaas/apply": (status, error), "/iaas/machines": (status, error)}
    for words in (("apply", "-f", str(manifest)), ("get", "machines")):
        ran = run(*words)
        assert ran.code > 0
        assert is_safe(ran.err)


def test_json_stays_the_same_data(evil: Server, run: Run) -> None:
    assert json.loads(run("get", "machines", "-o", "json").out) == evil.lists["machines"]


ODD = [None, True, 1e308, -1, [], {}, [1], {"a": 1}, "x" * 10_000, [[[]]], [{"a": None}], 10**30]


@pytest.mark.parametrize("odd", ODD, ids=lambda value: repr(value)[:20])
def test_odd_values_in_any_field_are_shown_somehow(
    server: Server, run: Run, manifest: Path, odd: Any
) -> None:
    for plural, item in (("machines", machine("a")), ("nodes", node()), ("images", image())):
        server.lists[plural] = [dict.fromkeys(item, odd) | {"name": "a"}]
    server.lists["events"] = [dict.fromkeys(("id", "at", "kind", "name", "reason", "message"), odd)]
    server.lists["audit"] = [dict.fromkeys(("id", "at", "who", "peer", "objects", "status"), odd)]
    for words in (*COMMANDS[:5], *COMMANDS[9:12]):
        assert run(*words).code == 0
    for kind in ("machine", "node", "image"):
        server.fail[f"/iaas/{kind}s/a"] = (200, server.lists[f"{kind}s"][0])
        assert run("describe", kind, "a").code == 0
    assert run("apply", "-f", str(manifest), "--wait", "--timeout", "0s").code in (1, 3)


@pytest.mark.parametrize(
    "odd", [{}, {"lines": 3}, {"revision": None, "lines": []}, [], {"revision": 1, "lines": [1]}]
)
def test_a_plan_of_another_form_is_an_error(
    server: Server, run: Run, manifest: Path, odd: Any
) -> None:
    server.fail["/iaas/apply"] = (200, odd)
    ran = run("apply", "-f", str(manifest))
    assert (ran.code, "does not look like an answer of a reconciler" in ran.err) == (1, True)
