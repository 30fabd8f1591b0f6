"""The audit as the admin reads it: every change and every refusal, and nothing that is a secret."""

import hashlib
import io
import threading
from contextlib import ExitStack
from typing import Any

import pytest

from reconciler.api.audit import MOST, Refusals
from reconciler.store import Store
from tests.reconciler.test_store_audit import refusal
from tests.reconciler.world import (
    ADMIN,
    OPERATOR,
    VIEWER,
    World,
    image,
    machine,
    node,
    raw,
)

FIELDS = {
    *("id", "at", "who", "peer", "method", "path", "action", "status"),
    *("objects", "error", "message", "times", "revision"),
}


def fingerprint(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:8]


def audit(world: World, **query: Any) -> list[dict[str, Any]]:
    answer = world.client().get("/iaas/audit", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def last(world: World) -> dict[str, Any]:
    return audit(world)[-1]


def apply(world: World, *documents: Any, token: str = ADMIN, **more: Any) -> int:
    body = {"documents": documents, **more}
    return world.client(token).post("/iaas/apply", json=body).status_code


# -- changes -----------------------------------------------------------------------------------------


def test_a_change_is_there_with_who_what_and_revision(world: World) -> None:
    world.upload()
    assert apply(world, image(), machine("web"), token=OPERATOR) == 200
    entry = last(world)
    assert set(entry) == FIELDS
    assert entry | {"id": 1, "peer": ""} == {
        "id": 1,
        "at": 1000.0,
        "who": f"operator {fingerprint(OPERATOR)}",
        "peer": "",
        "method": "POST",
        "path": "/iaas/apply",
        "action": "create",
        "status": 200,
        "objects": ["image/disk", "machine/web"],
        "error": "",
        "message": "api: 2 created",
        "times": 1,
        "revision": world.store.snapshot().revision,
    }


def test_a_mixed_set_names_deletions_first(world: World) -> None:
    world.upload()
    assert apply(world, image(), machine("a"), machine("b"), source="set:x", prune=True) == 200
    documents = image(), machine("b", cpus=2), machine("c")
    assert apply(world, *documents, source="set:x", prune=True) == 200
    entry = last(world)
    assert (entry["action"], entry["message"]) == (
        "apply",
        "set:x: 1 deleted, 1 changed, 1 created",
    )
    assert entry["objects"] == ["machine/a", "machine/b", "machine/c"]


def test_a_large_set_is_counted_and_its_first_hundred_are_named(world: World) -> None:
    world.upload()
    assert apply(world, image(), *(machine(f"m{number}") for number in range(150))) == 200
    entry = last(world)
    assert (len(entry["objects"]), entry["message"]) == (100, "api: 151 created")


def test_a_deletion_of_one_and_an_upload(world: World) -> None:
    world.upload()
    apply(world, image(), machine("web"))
    world.client(OPERATOR).delete("/iaas/machines/web")
    entry = last(world)
    assert (entry["action"], entry["method"], entry["path"], entry["status"], entry["objects"]) == (
        "delete",
        "DELETE",
        "/iaas/machines/web",
        202,
        ["machine/web"],
    )
    other = b"other bytes"
    path = f"/iaas/blobs/{hashlib.sha256(other).hexdigest()}"
    for _ in range(2):  # the second one changes nothing
        world.client(OPERATOR).put(path, content=other)
        entry = last(world)
        assert (entry["action"], entry["status"], entry["path"]) == ("upload", 201, path)
        assert entry["message"] == f"{len(other)} bytes"
    assert [it["action"] for it in audit(world)].count("upload") == 1


def test_what_changes_nothing_is_not_written_down(world: World) -> None:
    world.upload()
    apply(world, image(), machine("web"))
    before = audit(world)
    assert apply(world, image(), machine("web")) == 200
    body = {"documents": [machine("other")]}
    assert world.client().post("/iaas/apply?dryRun=true", json=body).status_code == 200
    objects = {"objects": [{"kind": "Machine", "name": "web"}]}
    assert world.client().post("/iaas/delete?dryRun=true", json=objects).status_code == 200
    state = {"state": "running"}
    assert world.client().put("/iaas/machines/web", json=state).status_code == 200
    world.client(VIEWER).get("/iaas/machines")
    world.client(VIEWER).get("/iaas/machines/nothing")
    assert audit(world) == before


def test_the_program_itself_is_named_by_the_source(world: World) -> None:
    world.upload()
    world.desk.apply([image(), machine("web")], source="dir:lab")
    entry = last(world)
    assert (entry["who"], entry["peer"], entry["method"]) == ("source dir:lab", "", "")
    assert entry["message"] == "dir:lab: 2 created"


@pytest.mark.parametrize("broken", ["audit", "event", "object"])
def test_a_change_that_fails_half_way_leaves_neither_itself_nor_an_entry(
    world: World, broken: str
) -> None:
    world.upload()
    apply(world, image())
    before, entries = world.store.snapshot(), world.store.audited()
    world.store.database.sql(
        f"CREATE TRIGGER stop BEFORE INSERT ON {broken} BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    assert apply(world, machine("web")) == 503
    assert (world.store.snapshot(), world.store.audited()) == (before, entries)
    assert Store(world.store.database).snapshot() == before
    world.store.database.sql("DROP TRIGGER stop")
    assert apply(world, machine("web")) == 200
    assert [it["action"] for it in audit(world)] == ["create", "create", "fail"]


# -- refusals ----------------------------------------------------------------------------------------


def refused(world: World, status: int, error: str) -> dict[str, Any]:
    entry = last(world)
    assert (entry["action"], entry["status"], entry["error"]) == ("refuse", status, error)
    assert entry["revision"] is None
    return entry


def test_refusals_say_who_where_and_why(world: World) -> None:
    world.upload()
    apply(world, image(), machine("web"))
    assert apply(world, machine("web"), token="wrong-token-of-somebody") == 401
    entry = refused(world, 401, "unauthorized")
    assert entry["who"] == f"unknown {fingerprint('wrong-token-of-somebody')}"
    assert world.client(None).get("/iaas/machines").status_code == 401
    assert refused(world, 401, "unauthorized")["who"] == "nobody"
    assert apply(world, node("n1"), token=OPERATOR) == 403
    entry = refused(world, 403, "forbidden")
    assert (entry["objects"], entry["path"]) == (["node/n1"], "/iaas/apply")
    assert apply(world, machine("web", cpus=2), source="set:other") == 409
    assert refused(world, 409, "conflict")["objects"] == ["machine/web"]
    assert apply(world, {"kind": "Pod"}) == 422
    assert refused(world, 422, "invalid")["message"] == "2 faults; nothing was changed"
    assert world.client().delete("/iaas/machines/none").status_code == 404
    assert refused(world, 404, "not_found")["path"] == "/iaas/machines/none"
    assert world.client().post("/iaas/nowhere").status_code == 404
    assert refused(world, 404, "not_found")["path"] == "/iaas/nowhere"
    assert world.client().patch("/iaas/machines/web").status_code == 405
    assert refused(world, 405, "method_not_allowed")["method"] == "PATCH"
    assert world.client().post("/iaas/apply", content=b"{}").status_code == 415
    refused(world, 415, "unsupported_media_type")
    large = {"CONTENT_LENGTH": str(1 << 40), "wsgi.input": io.BytesIO(), "REMOTE_ADDR": "192.0.2.7"}
    assert raw(world.app, "POST", "/iaas/apply", **large)[0] == 413
    assert refused(world, 413, "too_large")["peer"] == "192.0.2.7"
    with ExitStack() as full:
        for _ in range(16):
            full.enter_context(world.deps.submissions.take())
        assert apply(world, machine("web")) == 429
    refused(world, 429, "too_many_requests")


def test_the_peer_is_who_is_connected_and_not_what_a_header_says(world: World) -> None:
    world.upload()
    forged = {"HTTP_X_FORWARDED_FOR": "203.0.113.1", "HTTP_X_REAL_IP": "203.0.113.1"}
    body = b'{"documents": []}'
    raw(world.app, "POST", "/iaas/nowhere", body, REMOTE_ADDR="192.0.2.7", **forged)
    assert last(world)["peer"] == "192.0.2.7"


@pytest.mark.parametrize(
    ("path", "query", "body"),
    [
        ("/iaas/apply", "canary-secret", b"{}"),
        ("/iaas/apply", "dryRun=canary-secret", b"{}"),
        ("/iaas/apply", "canary-secret=1", b"{}"),
        ("/iaas/apply", "", b'{"canary-secret": 1}'),
        ("/iaas/apply", "", b'{"documents": [], "source": "canary-secret \xc3\xa4"}'),
        ("/iaas/apply", "", b'{"documents": [], "source": "canary-secret' + b"x" * 200 + b'"}'),
        ("/iaas/apply", "", b'{"documents": [{"env": {"A": "canary-secret"}}]}'),
        ("/iaas/delete", "", b'{"objects": [{"kind": "canary-secret", "name": ""}]}'),
    ],
)
def test_nothing_that_was_sent_in_the_wrong_place_is_written_down(
    world: World, path: str, query: str, body: bytes
) -> None:
    status, _ = raw(world.app, "POST", path, body, QUERY_STRING=query)
    assert status in (400, 422)
    assert last(world)["status"] == status
    assert "canary-secret" not in str(audit(world))


def test_strange_methods_and_paths_are_written_short_and_printable(world: World) -> None:
    raw(world.app, "POST", "/iaas/\x1b[31m" + "x" * 5000)
    entry = last(world)
    assert entry["path"].startswith("/iaas/\\x1b[31mxxx")
    assert len(entry["path"]) < 250
    assert len(entry["message"]) <= 300
    assert raw(world.app, "POST", "/iaas/\xed\xa0\x80")[0] == 400  # half a surrogate pair
    refused(world, 400, "bad_request")


# -- many of them ------------------------------------------------------------------------------------


def test_alike_refusals_become_one_entry(world: World) -> None:
    for _ in range(500):
        raw(world.app, "GET", "/iaas/machines", HTTP_AUTHORIZATION="Bearer x")
    (entry,) = audit(world)
    assert (entry["times"], entry["at"]) == (500, 1000.0)


def test_a_flood_is_counted_and_costs_one_transaction(world: World) -> None:
    before = world.store.writes
    for number in range(MOST + 400):
        raw(world.app, "GET", "/iaas/machines", HTTP_AUTHORIZATION=f"Bearer {number}")
    assert world.store.writes == before
    *single, summary = audit(world)
    assert len(single) == MOST
    assert (summary["who"], summary["times"]) == ("several", 400)
    assert summary["message"] == "too many refused requests at once to write each down"


def test_they_are_written_soon_and_together_without_anybody_asking(world: World) -> None:
    refusals = Refusals(world.store, lambda: 5.0)
    refusals.start()
    for number in range(20):
        refusals.add(refusal(str(number)))
    for _ in range(200):
        if len(world.store.audited()) == 20:
            break
        threading.Event().wait(0.02)
    refusals.stop()
    assert len(world.store.audited()) == 20


def test_the_rest_is_written_at_the_end(world: World) -> None:
    for started in (True, False):
        refusals = Refusals(world.store, lambda: 5.0)
        if started:
            refusals.start()
        refusals.add(refusal(f"started {started}"))
        refusals.stop()
    assert [it.entry.message for it in world.store.audited()] == ["started True", "started False"]


def test_a_store_that_fails_is_logged_and_stops_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.store.database.sql(
        "CREATE TRIGGER stop BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    for _ in range(3):
        raw(world.app, "POST", "/iaas/nowhere")
    assert audit(world) == []
    assert "3 refused requests are missing in the audit" in caplog.text
    world.store.database.sql("DROP TRIGGER stop")
    raw(world.app, "POST", "/iaas/nowhere")
    assert last(world)["times"] == 1


# -- reading -----------------------------------------------------------------------------------------


def test_it_can_be_read_on_from_an_id(world: World) -> None:
    for number in range(5):
        raw(world.app, "POST", f"/iaas/{number}")
    ids = [entry["id"] for entry in audit(world)]
    assert ids == sorted(ids)
    assert [it["path"] for it in audit(world, limit=2)] == ["/iaas/3", "/iaas/4"]
    assert [it["path"] for it in audit(world, since=ids[1], limit=2)] == ["/iaas/2", "/iaas/3"]
    assert audit(world, since=ids[-1]) == []
    for query in ("since=-1", "limit=1001", "name=x"):
        assert world.client().get(f"/iaas/audit?{query}").status_code == 400
