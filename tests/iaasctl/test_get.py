"""iaasctl get, describe, events: what is printed and in which form."""

import json
from typing import Any

import pytest

from tests.iaasctl.conftest import Run
from tests.iaasctl.scripted import Server, image, machine, node


def test_a_table_is_sorted_and_says_why_what_is_not_ready_is_not(server: Server, run: Run) -> None:
    server.lists["machines"] = [
        machine("web2", "pending", reason="n1: 512 MiB too little"),
        machine("web1", reason="fine"),
    ]
    ran = run("get", "machines")
    header, first, second = ran.out.splitlines()
    assert header.split() == ["NAME", "STATE", "NODE", "IMAGE", "PORTS", "AGE", "ID", "REASON"]
    assert first.split()[:5] == ["web1", "running", "n1", "web", "8080:80/tcp"]
    assert "fine" not in first
    assert second.split()[:3] == ["web2", "pending", "-"]
    assert second.endswith("  n1: 512 MiB too little")
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.parametrize("word", ["machine", "machines", "vm", "VMs", "m"])
def test_kinds_have_singular_plural_and_short_names(server: Server, run: Run, word: str) -> None:
    server.lists["machines"] = [machine("web1")]
    assert run("get", word, "-o", "name").out == "machine/web1\n"


def test_get_all_has_a_block_for_each_kind_that_has_objects(server: Server, run: Run) -> None:
    server.lists |= {"nodes": [node()], "machines": [machine("web1")]}
    blocks = run("get", "all").out.split("\n\n")
    assert [block.split()[0] for block in blocks] == ["NAME", "NAME"]
    assert "1.5/32  512Mi/4Gi  2" in blocks[0]


def test_one_name_is_an_object_several_are_a_list(server: Server, run: Run) -> None:
    server.lists["machines"] = [machine("a"), machine("b"), machine("c")]
    assert json.loads(run("get", "vm", "b", "-o", "json").out)["name"] == "b"
    assert [item["name"] for item in json.loads(run("get", "vm", "c", "a", "-o", "json").out)] == [
        "a",
        "c",
    ]
    assert "name: b\n" in run("get", "vm/b", "-o", "yaml").out


def test_filters_go_to_the_server_and_labels_are_matched_here(server: Server, run: Run) -> None:
    server.lists["machines"] = [
        machine("a"),
        machine("b", labels={"app": "old"}),
        machine("c", "failed"),
    ]
    assert run("get", "vm", "state=running", "-o", "name").out == "machine/a\nmachine/b\n"
    assert server.requests[-1][2] == {"state": "running"}
    assert run("get", "vm", "-l", "app=old", "-o", "name").out == "machine/b\n"
    assert run("get", "vm", "-l", "app", "-o", "name").out.count("machine/") == 3


def test_nothing_found_is_said_on_stderr_only(run: Run) -> None:
    ran = run("get", "machines")
    assert (ran.code, ran.out, ran.err) == (0, "", "no machines\n")
    assert run("get", "machines", "-o", "json").out == "[]\n"


def test_an_unknown_name_is_exit_4(server: Server, run: Run) -> None:
    server.lists["machines"] = [machine("a")]
    assert run("get", "vm", "nope").code == 4
    ran = run("get", "vm", "a", "nope")
    assert (ran.code, "there is no machine nope" in ran.err, ran.out.count("\n")) == (4, True, 2)


def test_an_unknown_kind_suggests_the_right_one(run: Run) -> None:
    ran = run("get", "machnes")
    assert (ran.code, "did you mean 'machines'?" in ran.err) == (2, True)


def test_wide_shows_more(server: Server, run: Run) -> None:
    server.lists["images"] = [image()]
    text = run("get", "img", "-o", "wide").out
    assert "a" * 64 in text
    assert "2 MiB" in text


def test_describe_says_why_and_what_happened(server: Server, run: Run) -> None:
    server.lists["machines"] = [machine("web1", "pending", reason="no node has port 8080 free")]
    server.lists["events"] = [
        {
            "id": 1,
            "at": 1.7e9,
            "kind": "Machine",
            "name": "web1",
            "reason": "Waiting",
            "message": "port",
        },
        {
            "id": 2,
            "at": 1.7e9,
            "kind": "Machine",
            "name": "other",
            "reason": "X",
            "message": "other",
        },
    ]
    text = run("describe", "machine", "web1").out
    assert text.startswith("machine web1 is not ready: pending: no node has port 8080 free\n")
    assert "labels:\n  app:  shop" in text
    assert "Waiting" in text
    assert "other" not in text


def test_describe_a_node_lists_its_machines(server: Server, run: Run) -> None:
    server.lists |= {"nodes": [node()], "machines": [machine("web1"), machine("far", node="n2")]}
    text = run("describe", "node/n1").out
    assert "machines on it:\nNAME" in text
    assert "far" not in text


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([{"node": "n1", "state": "fetching", "done": 430, "size": 1000}], "  n1 fetching 43 %\n"),
        ([{"node": "n1", "state": "fetching", "done": 0, "size": 0}], "  n1 fetching\n"),
        ([{"node": "n2", "state": "ready", "done": 5, "size": 5, "reason": ""}], "  n2 ready\n"),
        ([{"node": "n3", "state": "failed", "reason": "no room"}], "  n3 failed: no room\n"),
        (["odd", {"node": 3}], "  odd\n  3 -\n"),
    ],
)
def test_describe_an_image_says_which_nodes_have_it(
    server: Server, run: Run, nodes: list[Any], said: str
) -> None:
    server.lists["images"] = [image() | {"nodes": nodes}]
    text = run("describe", "image", str(image()["name"])).out
    assert f"on nodes:\n{said}" in text
    server.lists["images"] = [image() | {"nodes": []}]
    assert "on no node\n" in run("describe", "image", str(image()["name"])).out


def test_events_of_one_object_since_an_id(server: Server, run: Run) -> None:
    event = {"at": 1.7e9, "kind": "Machine", "name": "web1", "reason": "Placed", "message": "on n1"}
    server.lists["events"] = [event | {"id": 1}, event | {"id": 2}]
    ran = run("events", "vm/web1", "--since", "1", "--limit", "5", "-o", "json")
    assert [item["id"] for item in json.loads(ran.out)] == [2]
    assert server.requests[-1][2] == {"kind": "Machine", "name": "web1", "since": "1", "limit": "5"}


ENTRY = {
    "id": 7,
    "at": 1.7e9,
    "who": "operator 1f0c2d3e",
    "peer": "127.0.0.1",
    "method": "POST",
    "path": "/iaas/apply",
    "action": "apply",
    "status": 200,
    "objects": ["machine/a", "machine/b", "machine/c", "machine/d"],
    "error": "",
    "message": "set:shop: 1 deleted, 3 created",
    "times": 1,
    "revision": 12,
}


def test_the_audit_says_who_did_what(server: Server, run: Run) -> None:
    server.lists["audit"] = [ENTRY]
    header, line = run("audit").out.splitlines()
    assert header.split() == ["TIME", "WHO", "DID", "OBJECTS", "STATUS", "MESSAGE"]
    assert "operator 1f0c2d3e  apply  machine/a,machine/b,machine/c and 1 more  200" in line
    wide = run("audit", "--since", "6", "-n", "5", "-o", "wide").out.splitlines()
    assert wide[0].split()[:4] == ["ID", "TIME", "WHO", "FROM"]
    assert "127.0.0.1" in wide[1]
    assert server.requests[-1][1:3] == ("/iaas/audit", {"since": "6", "limit": "5"})
    assert json.loads(run("audit", "-o", "json").out) == [ENTRY]


@pytest.mark.parametrize(
    "words", [["--since", "x"], ["--since", "-1"], ["-n", "0"], ["-o", "name"]]
)
def test_the_audit_is_asked_for_properly(server: Server, run: Run, words: list[str]) -> None:
    assert run("audit", *words).code == 2
    assert server.requests == []


def test_an_empty_audit_is_said_to_be_empty(run: Run) -> None:
    ran = run("audit")
    assert (ran.code, ran.out, ran.err) == (0, "", "no entries\n")


def test_who_may_not_is_told_who_may(server: Server, run: Run) -> None:
    error = {
        "message": "the role admin may do this, viewer may not",
        "hint": "use a token of the role admin",
    }
    server.fail["/iaas/audit"] = (403, {"error": "forbidden", **error})
    ran = run("audit")
    assert ran.code == 6
    assert error["message"] in ran.err
    assert error["hint"] in ran.err
    assert "as root" not in ran.err


def test_version_shows_both_sides(run: Run) -> None:
    assert run("version").out.splitlines()[1] == "server: 9.9"


def test_schema_needs_no_server_and_is_json(run: Run, server: Server) -> None:
    assert json.loads(run("schema", "vm").out)["title"] == "Machine"
    assert run("schema").out.startswith("KIND")
    assert server.requests == []
