"""The API as its clients see it, without sockets, under wsgiref's validator."""

import json

import httpx2
import pytest

from reconciler.api.http import ApiError
from reconciler.store import StoreError, StoreFull
from tests.reconciler.world import AGENT, BYTES, SHA256, World, image, machine, node

SHAPE = {"error", "message", "field", "hint", "conflicts", "faults"}


def filled(world: World) -> httpx2.Client:
    """A client of a cluster with an image and a machine."""
    world.upload()
    client = world.client()
    answer = client.post("/iaas/apply", json={"documents": [image(), machine("web")]})
    assert answer.status_code == 200, answer.text
    return client


def test_health_needs_no_token_and_tells_nothing(world: World) -> None:
    answer = world.client(token=None).get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_apply_answers_with_the_plan(world: World) -> None:
    world.upload()
    body = {"source": "shop", "documents": [image(), machine("web")], "prune": True}
    answer = world.client().post("/iaas/apply", json=body)
    assert answer.status_code == 200
    data = answer.json()
    assert (data["changed"], data["brake"]) == (2, "")
    assert data["revision"] == world.store.snapshot().revision
    assert [(line["action"], line["kind"], line["name"]) for line in data["lines"]] == [
        ("create", "Image", "disk"),
        ("create", "Machine", "web"),
    ]
    assert world.store.snapshot().objects["Machine", "web"].source == "shop"


def test_a_dry_run_stores_nothing(world: World) -> None:
    client = filled(world)
    writes = world.store.writes
    answer = client.post("/iaas/apply?dryRun=true", json={"documents": [machine("web", cpus=2)]})
    (line,) = answer.json()["lines"]
    assert line["action"] == "update"
    assert line["changes"][0]["field"] == "cpus"
    assert world.store.writes == writes


def test_faults_come_with_index_path_and_hint(world: World) -> None:
    answer = world.client().post("/iaas/apply", json={"documents": [image()]})
    assert answer.status_code == 422
    data = answer.json()
    assert set(data) == SHAPE
    assert (data["error"], data["message"]) == ("invalid", "1 fault; nothing was changed")
    assert data["faults"] == [
        {
            "index": 0,
            "path": ["spec", "sha256"],
            "message": "the bytes are not here",
            "hint": "upload them, or let iaasctl do it",
        }
    ]


def test_conflicts_name_the_owner(world: World) -> None:
    client = filled(world)
    body = {"source": "other", "documents": [machine("web", cpus=2)]}
    answer = client.post("/iaas/apply", json=body)
    assert answer.status_code == 409
    (conflict,) = answer.json()["conflicts"]
    assert (conflict["kind"], conflict["name"], conflict["owner"]) == ("Machine", "web", "api")


def test_a_mass_deletion_answers_brake(world: World) -> None:
    world.run(5)
    objects = [{"kind": "Machine", "name": f"m{number:02}"} for number in range(5)]
    answer = world.client().post("/iaas/delete", json={"objects": objects})
    assert (answer.status_code, answer.json()["error"]) == (409, "brake")
    answer = world.client().post("/iaas/delete?dryRun=true", json={"objects": objects})
    assert "5 running machines" in answer.json()["brake"]
    answer = world.client().post("/iaas/delete", json={"objects": objects, "approve": True})
    assert (answer.status_code, answer.json()["changed"]) == (200, 5)


def test_lists_show_the_lab_fields_and_filter_by_them(world: World) -> None:
    client = filled(world)
    client.post("/iaas/apply", json={"documents": [machine("db", memory="1Gi"), node("n1")]})
    assert [item["name"] for item in client.get("/iaas/machines").json()] == ["db", "web"]
    assert [item["name"] for item in client.get("/iaas/machines?mem=1024").json()] == ["db"]
    assert client.get("/iaas/machines?mem=1024&name=web").json() == []
    assert [item["name"] for item in client.get("/iaas/images?machines=web").json()] == ["disk"]
    assert [item["addr"] for item in client.get("/iaas/nodes?ready=false").json()] == [
        "n1.example:7701"
    ]


def test_an_unknown_field_to_filter_by_is_refused_with_the_known_ones(world: World) -> None:
    client = filled(world)
    data = client.get("/iaas/machines?colour=red").json()
    assert (data["error"], data["field"]) == ("bad_request", "colour")
    assert "name, image, type" in data["hint"]
    hint = client.get("/iaas/machines?memm=1").json()["hint"]
    assert hint.startswith("did you mean 'mem'? fields: id, name, image")


def test_one_object_by_whole_name_or_whole_id(world: World) -> None:
    client = filled(world)
    by_name = client.get("/iaas/machines/web").json()
    assert client.get(f"/iaas/machines/{by_name['id']}").json() == by_name
    for wrong in ("we", "web2", "WEB", by_name["id"][:-1], "web%20", "web%00", "%2e%2e"):
        answer = client.get(f"/iaas/machines/{wrong}")
        assert (answer.status_code, set(answer.json())) == (404, SHAPE)
    assert client.get("/iaas/nodes/web").status_code == 404


def test_deleting_one_answers_202_while_it_goes_and_again(world: World) -> None:
    client = filled(world)
    for _ in range(2):
        answer = client.delete("/iaas/machines/web")
        assert (answer.status_code, answer.json()["state"]) == (202, "deleting")
    assert client.delete("/iaas/machines/other").status_code == 404


def test_deleting_what_is_in_use_names_the_user(world: World) -> None:
    client = filled(world)
    answer = client.delete("/iaas/images/disk")
    assert answer.status_code == 409
    assert "in use by machine 'web'" in answer.json()["conflicts"][0]["message"]


def test_events_can_be_read_on_from_an_id(world: World) -> None:
    client = filled(world)
    first, second = client.get("/iaas/events").json()
    assert (first["reason"], first["name"], first["at"]) == ("Created", "disk", 1000.0)
    assert client.get(f"/iaas/events?since={first['id']}").json() == [second]
    assert client.get("/iaas/events?kind=Machine&name=web").json() == [second]
    assert client.get("/iaas/events?limit=1").json() == [second]
    assert client.get("/iaas/events?kind=Pod").json()["field"] == "kind"


# -- bytes -------------------------------------------------------------------------------------------


def test_bytes_are_put_looked_for_and_fetched(world: World) -> None:
    client = world.client()
    path = f"/iaas/blobs/{SHA256}"
    assert client.head(path).status_code == 404
    assert client.get(path).status_code == 404
    answer = client.put(path, content=BYTES)
    assert (answer.status_code, answer.json()) == (201, {"sha256": SHA256, "size": len(BYTES)})
    assert client.put(path, content=BYTES).status_code == 200
    head = client.head(path)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(BYTES)))
    answer = world.client(token=AGENT).get(path)
    assert (answer.content, answer.headers["content-type"]) == (BYTES, "application/octet-stream")


@pytest.mark.parametrize("more", [{}, {"If-Range": f'"{SHA256}"'}])
def test_a_broken_download_goes_on_where_it_ended(world: World, more: dict[str, str]) -> None:
    path, agent = f"/iaas/blobs/{SHA256}", world.client(token=AGENT)
    world.client().put(path, content=BYTES)
    whole = agent.get(path)
    assert (whole.headers["accept-ranges"], whole.headers["etag"]) == ("bytes", f'"{SHA256}"')
    for start in (0, 1, len(BYTES) - 1):
        answer = agent.get(path, headers={"Range": f"bytes={start}-"} | more)
        assert (answer.status_code, answer.content) == (206, BYTES[start:])
        assert answer.headers["content-range"] == f"bytes {start}-{len(BYTES) - 1}/{len(BYTES)}"
        assert answer.headers["content-length"] == str(len(BYTES) - start)
        assert answer.headers["etag"] == f'"{SHA256}"'


@pytest.mark.parametrize("start", [len(BYTES), 10**17])
def test_there_is_nothing_to_go_on_with_behind_the_end(world: World, start: int) -> None:
    path = f"/iaas/blobs/{SHA256}"
    world.client().put(path, content=BYTES)
    answer = world.client().get(path, headers={"Range": f"bytes={start}-"})
    assert (answer.status_code, answer.json()["error"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(BYTES)}"


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-3"},
        {"Range": "bytes=-3"},
        {"Range": "bytes=1-,3-"},
        {"Range": "bytes=-"},
        {"Range": f"bytes={10**30}-"},
        {"Range": "lines=3-"},
        {"Range": "bytes=3-", "If-Range": '"of something else"'},
    ],
)
def test_any_other_range_gets_all(world: World, headers: dict[str, str]) -> None:
    path = f"/iaas/blobs/{SHA256}"
    world.client().put(path, content=BYTES)
    answer = world.client().get(path, headers=headers)
    assert (answer.status_code, answer.content) == (200, BYTES)
    assert world.client().head(path, headers={"Range": "bytes=3-"}).status_code == 200


def test_an_upload_in_pieces(world: World) -> None:
    client, path = world.client(), f"/iaas/blobs/{SHA256}"
    assert client.head(path).headers["upload-offset"] == "0"
    headers = {"Upload-Length": str(len(BYTES))}
    answer = client.put(path, content=BYTES[:10], headers=headers)
    assert (answer.status_code, answer.headers["upload-offset"]) == (202, "10")
    answer = client.get(path)
    assert (answer.status_code, answer.headers["upload-offset"]) == (404, "10")
    wrong = client.put(path, content=BYTES[9:], headers={"Upload-Offset": "9"})
    assert (wrong.status_code, wrong.headers["upload-offset"]) == (409, "10")
    assert wrong.json() | {"field": "Upload-Offset", "error": "wrong_offset"} == wrong.json()
    answer = client.put(path, content=BYTES[10:], headers={"Upload-Offset": "10"})
    assert (answer.status_code, answer.json()) == (201, {"sha256": SHA256, "size": len(BYTES)})
    assert client.get(path).content == BYTES


def test_an_upload_whose_last_answer_was_lost_is_finished_with_nothing(world: World) -> None:
    client, path = world.client(), f"/iaas/blobs/{SHA256}"
    total = str(len(BYTES))
    client.put(path, content=BYTES, headers={"Upload-Length": str(len(BYTES) + 1)})
    answer = client.put(path, content=b"", headers={"Upload-Offset": total})
    assert answer.status_code == 201


def test_a_second_upload_of_the_same_bytes_is_told_to_wait(world: World) -> None:
    with world.library.writer(SHA256):
        answer = world.client().put(f"/iaas/blobs/{SHA256}", content=BYTES)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
    assert "being received already" in answer.json()["message"]


def test_other_bytes_are_refused(world: World) -> None:
    answer = world.client().put(f"/iaas/blobs/{SHA256}", content=b"others")
    assert (answer.status_code, answer.json()["error"]) == (422, "bad_bytes")
    assert not world.library.has(SHA256)


def test_bytes_for_which_there_is_no_room_are_refused(world: World) -> None:
    world.library.room.reserve = 1 << 60
    answer = world.client().put(f"/iaas/blobs/{SHA256}", content=BYTES)
    assert (answer.status_code, answer.json()["error"]) == (507, "no_room")


# -- our own faults ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        pytest.param(StoreFull("db: no room on the disk"), 507, "no_room", id="full-disk"),
        pytest.param(StoreError("db: disk I/O error"), 503, "storage", id="broken-disk"),
        pytest.param(RuntimeError("a secret detail"), 500, "internal", id="defect"),
        pytest.param(RecursionError("a secret detail"), 500, "internal", id="recursion"),
        pytest.param(OSError(24, "Too many open files"), 500, "internal", id="system"),
    ],
)
def test_a_fault_of_ours_is_never_a_success_and_tells_no_details(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    code: str,
) -> None:
    client = filled(world)

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(world.store, "submit", fail)
    answer = client.post("/iaas/apply", json={"documents": [machine("b")]})
    assert (answer.status_code, answer.json()["error"], set(answer.json())) == (status, code, SHAPE)
    if status != 507:
        number = answer.json()["message"].rpartition("error ")[2].split()[0]
        assert number in caplog.text
        assert "detail" not in answer.text
        assert "disk I/O" not in answer.text
        assert str(error) in caplog.text


def test_health_tells_when_the_store_has_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.store.database, "_failure", "disk I/O error")
    answer = world.client(token=None).get("/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "failed"})


def test_every_answer_is_json_that_nobody_keeps(world: World) -> None:
    client = filled(world)
    for method, path in (("GET", "/iaas/machines"), ("GET", "/nowhere"), ("PUT", "/iaas/apply")):
        answer = client.request(method, path)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        json.loads(answer.content)


def test_errors_have_one_shape() -> None:
    assert set(ApiError(400, "x", "y").answer.body) == SHAPE


@pytest.mark.parametrize(
    "path", ["/health", "/iaas/machines", "/iaas/machines/web", "/iaas/nodes", "/openapi.json"]
)
def test_head_answers_like_get_without_a_body(world: World, path: str) -> None:
    client = filled(world)
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(got.content))
    assert head.headers.get("etag") == got.headers.get("etag")
