"""PUT and DELETE of the lab: starting, stopping, removing; and only what the client saw."""

import json
import threading
import time
from collections.abc import Callable, Iterator

import httpx2
import pytest

from reconciler.api.deps import Slots
from tests.reconciler.hostile import refused
from tests.reconciler.looping import looping
from tests.reconciler.world import World, image, machine, node, uid

WEB = "/iaas/machines/web"


@pytest.fixture
def lab(world: World) -> World:
    """An image and a machine `web`, placed nowhere."""
    world.upload()
    world.desk.apply([image(), machine("web")])
    return world


@pytest.fixture
def looped(lab: World) -> Iterator[World]:
    """With the reconcile loop at work."""
    with looping(lab):
        yield lab


def put(world: World, state: str, **headers: str) -> httpx2.Response:
    return world.client().put(WEB, json={"state": state}, headers=headers)


def error(answer: httpx2.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    return f"{answer.json()['message']} {answer.json()['hint']}"


# -- PUT ---------------------------------------------------------------------------------------------


def test_a_machine_is_stopped_and_started(lab: World) -> None:
    for state, generation in (("stopped", 2), ("running", 3)):
        answer = put(lab, state)
        assert (answer.status_code, answer.json()["name"]) == (200, "web")
        assert answer.json()["generation"] == generation
        assert lab.store.snapshot().objects["Machine", "web"].machine.state == state


def test_by_its_id_too(lab: World) -> None:
    found = lab.client().get(WEB).json()
    answer = lab.client().put(f"/iaas/machines/{found['id']}", json={"state": "stopped"})
    assert answer.json()["spec"]["state"] == "stopped"


def test_what_is_so_already_is_not_written(lab: World) -> None:
    put(lab, "stopped")
    writes, version = lab.store.writes, lab.cluster.signal.version
    answer = put(lab, "stopped")
    assert (answer.status_code, answer.json()["generation"]) == (200, 2)
    assert (lab.store.writes, lab.cluster.signal.version) == (writes, version)


@pytest.mark.parametrize(
    ("body", "status", "field", "words"),
    [
        ({"state": "paused"}, 422, "state", "running, stopped"),
        ({"state": "deleting"}, 422, "state", "running, stopped"),
        ({"state": "Running"}, 422, "state", "running, stopped"),
        ({"state": "x" * 100_000}, 422, "state", "..."),
        ({"state": 1}, 400, "state", "not a string"),
        ({"state": None}, 400, "state", "not a string"),
        ({}, 400, "state", "missing"),
        ({"state": "stopped", "mem": 5}, 400, "mem", "unknown field"),
        ({"state": "stopped", "name": "x"}, 400, "name", "unknown field"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_nothing_else_can_be_put(
    lab: World, body: dict[str, object], status: int, field: str, words: str
) -> None:
    found = refused(lab, status, "PUT", WEB, json.dumps(body).encode())
    assert found["field"] == field
    assert words in found["message"] + found["hint"]


def test_the_machine_of_another_owner_is_not_put_but_named(lab: World) -> None:
    lab.desk.apply([machine("theirs")], source="set:shop")
    answer = lab.client().put("/iaas/machines/theirs", json={"state": "stopped"})
    said = error(answer, 409)
    assert "machine 'theirs' belongs to set:shop" in said
    assert "declare `state: stopped` there and apply it (--set shop)" in said


def test_a_machine_that_is_being_deleted_is_not_put(lab: World) -> None:
    lab.desk.delete([("Machine", "web")])
    assert "is being deleted" in error(put(lab, "stopped"), 409)


@pytest.mark.parametrize("path", ["/iaas/machines/we", "/iaas/machines/web-2", "/iaas/machines/x"])
def test_what_is_not_there_cannot_be_put(lab: World, path: str) -> None:
    refused(lab, 404, "PUT", path, b'{"state":"stopped"}')


@pytest.mark.parametrize("path", ["/iaas/nodes/n", "/iaas/images/disk"])
def test_only_machines_can_be_put(lab: World, path: str) -> None:
    refused(lab, 405, "PUT", path, b'{"state":"stopped"}')


# -- DELETE ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["name", "id"])
def test_what_runs_nowhere_is_gone_at_once(looped: World, by: str) -> None:
    client = looped.client()
    client.post("/iaas/nodes", json={"name": "n1", "addr": "h:7701"})
    for path in (WEB, "/iaas/images/disk", "/iaas/nodes/n1"):
        found = client.get(path).json()
        path = path if by == "name" else f"{path.rpartition('/')[0]}/{found['id']}"
        answer = client.delete(path)
        assert (answer.status_code, answer.content) == (204, b"")
        again = client.delete(path)
        assert again.status_code == (404 if by == "name" else 204)
        assert client.get(path).status_code == 404


def test_only_what_was_here_under_this_very_id_is_gone(looped: World) -> None:
    client = looped.client()
    found = client.get(WEB).json()["id"]
    client.delete(WEB)
    assert client.delete(f"/iaas/nodes/{found}").status_code == 404
    assert client.delete(f"/iaas/machines/{found[:-1]}").status_code == 404
    assert client.delete(f"/iaas/machines/{uid(99)}").status_code == 404


def test_another_of_the_same_name_is_not_meant_by_the_id(looped: World) -> None:
    client = looped.client()
    first = client.get(WEB).json()["id"]
    client.delete(WEB)
    client.post("/iaas/machines", json={"name": "web", "image": "disk"})
    assert client.delete(f"/iaas/machines/{first}").status_code == 204
    assert client.get(WEB).status_code == 200


def test_an_id_cannot_be_taken_as_a_name(lab: World) -> None:
    victim = "abcdef00-0000-4000-8000-000000000000"
    lab.desk.new_uid = lambda: type(uid(0))(victim)  # type: ignore[method-assign]
    lab.desk.apply([machine("victim")])
    lab.desk.new_uid = lambda: uid(77)  # type: ignore[method-assign]
    lab.desk.apply([machine(victim)])
    assert lab.client().get(f"/iaas/machines/{victim}").json()["name"] == "victim"


def test_what_a_node_has_to_confirm_takes_its_time(world: World) -> None:
    world.run(1)
    start = time.monotonic()
    answer = world.client().delete("/iaas/machines/m00")
    assert (answer.status_code, answer.json()["state"]) == (202, "deleting")
    assert time.monotonic() - start < 0.25


def test_a_client_may_wait_until_it_is_gone(world: World) -> None:
    world.run(1)
    client = world.client()
    start = time.monotonic()
    answer = client.delete("/iaas/machines/m00", headers={"Prefer": "wait=0.4"})
    assert answer.status_code == 202
    assert time.monotonic() - start >= 0.4
    timer = threading.Timer(0.1, lambda: confirm(world))
    timer.start()
    answer = client.delete("/iaas/machines/m00", headers={"Prefer": "wait=20"})
    assert answer.status_code == 204
    timer.join()


def confirm(world: World) -> None:
    """The node has removed it."""
    world.forget("m00")
    world.cluster.signal.bump()


def test_who_finds_no_place_to_wait_has_deleted_nothing(
    lab: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab.deps, "waiters", Slots(0, "waiting requests"))
    answer = lab.client().delete(WEB, headers={"Prefer": "wait=5"})
    assert answer.status_code == 429
    assert not lab.store.snapshot().objects["Machine", "web"].deleting
    assert lab.client().delete(WEB).status_code == 202


def test_an_image_in_use_is_kept_and_its_users_named(lab: World) -> None:
    lab.desk.apply([machine("db")], source="set:shop")
    answer = lab.client().delete("/iaas/images/disk")
    error(answer, 409)
    users = [(item["kind"], item["name"], item["owner"]) for item in answer.json()["conflicts"]]
    assert users == [("Machine", "db", "set:shop"), ("Machine", "web", "api")]
    assert "in use by machine 'db'" in answer.json()["conflicts"][0]["message"]


def test_a_node_with_machines_is_kept_and_they_are_named(world: World) -> None:
    world.run(2)
    world.desk.apply([machine("pinned", node="node1"), machine("free")])
    answer = world.client().delete("/iaas/nodes/node1")
    assert "iaasctl delete node node1" in error(answer, 409)
    assert [item["name"] for item in answer.json()["conflicts"]] == ["m00", "m01", "pinned"]
    assert not world.store.snapshot().objects["Node", "node1"].deleting


def test_a_node_can_still_be_emptied_by_a_manifests_way(world: World) -> None:
    world.run(2)
    objects = [{"kind": "Node", "name": "node1"}]
    answer = world.client().post("/iaas/delete", json={"objects": objects})
    assert (answer.status_code, answer.json()["changed"]) == (200, 1)


def test_what_another_owner_has_is_not_deleted_but_the_owner_named(lab: World) -> None:
    lab.desk.apply([machine("theirs"), node("n1")], source="set:shop")
    for path in ("/iaas/machines/theirs", "/iaas/nodes/n1"):
        said = error(lab.client().delete(path), 409)
        assert "belongs to set:shop" in said
        assert "remove it there and apply it (--set shop)" in said


# -- If-Match ----------------------------------------------------------------------------------------


def test_only_what_the_client_saw_is_changed(lab: World) -> None:
    seen = lab.client().get(WEB).headers["etag"]
    answer = put(lab, "stopped", **{"If-Match": seen})
    assert answer.status_code == 200
    assert put(lab, "running", **{"If-Match": seen}).status_code == 412
    assert put(lab, "running", **{"If-Match": answer.headers["etag"]}).status_code == 200
    stale = lab.client().delete(WEB, headers={"If-Match": seen})
    assert "has changed since" in error(stale, 412)
    assert not lab.store.snapshot().objects["Machine", "web"].deleting


def test_what_was_observed_since_is_no_change(lab: World) -> None:
    seen = lab.client().get(WEB).headers["etag"]
    lab.cluster.signal.bump()
    assert lab.client().get(WEB).headers["etag"] != seen
    assert put(lab, "stopped", **{"If-Match": seen}).status_code == 200


def test_the_answer_to_a_creation_can_be_matched(lab: World) -> None:
    made = lab.client().post("/iaas/machines", json={"image": "disk", "name": "new"})
    headers = {"If-Match": made.headers["etag"]}
    answer = lab.client().delete("/iaas/machines/new", headers=headers)
    assert answer.status_code == 202


@pytest.mark.parametrize("text", ["*", " * ", 'W/"x", {tag}', '{tag}, "other"', '"x","y",{tag}'])
def test_any_of_several_versions_will_do(lab: World, text: str) -> None:
    tag = lab.client().get(WEB).headers["etag"]
    assert put(lab, "stopped", **{"If-Match": text.format(tag=tag)}).status_code == 200


@pytest.mark.parametrize("text", ['"x"', '""', "W/{tag}", '"1.5"', '"::"'])
def test_another_version_is_not_the_one_there_is(lab: World, text: str) -> None:
    tag = lab.client().get(WEB).headers["etag"]
    assert put(lab, "stopped", **{"If-Match": text.format(tag=tag)}).status_code == 412


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "",
        " ",
        '"',
        '"x" "y"',
        "*, *",
        '"x",',
        "W/*",
        '"\x7f"',
        '"' + "x" * 9000 + '"',
        '"x";' * 99,
    ],
)
def test_nonsense_to_match_is_refused(lab: World, text: str) -> None:
    found = refused(lab, 400, "PUT", WEB, b'{"state":"stopped"}', HTTP_IF_MATCH=text)
    assert found["field"] == "If-Match"


def meanwhile(world: World, patch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Has something happen between the next look at an object and the write."""
    turn = world.desk._one_at_a_time

    def late() -> object:
        patch.setattr(world.desk, "_one_at_a_time", turn)
        happens()
        return turn()

    patch.setattr(world.desk, "_one_at_a_time", late)


def test_the_version_is_checked_when_it_is_written(
    lab: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever changes it between our look and our write is not overwritten."""
    seen = lab.client().get(WEB).headers["etag"]
    meanwhile(lab, monkeypatch, lambda: put(lab, "stopped"))
    assert put(lab, "running", **{"If-Match": seen}).status_code == 412
    assert lab.store.snapshot().objects["Machine", "web"].machine.state == "stopped"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_another_that_has_the_name_by_now_is_not_touched(
    lab: World, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def replaced() -> None:
        lab.desk.delete([("Machine", "web")])
        lab.forget("web")
        lab.desk.apply([machine("web")])

    meanwhile(lab, monkeypatch, replaced)
    body = {"json": {"state": "stopped"}} if method == "PUT" else {}
    error(lab.client().request(method, WEB, **body), 404)  # type: ignore[arg-type]
    found = lab.store.snapshot().objects["Machine", "web"]
    assert (found.machine.state, found.deleting) == ("running", False)


def test_the_answer_to_a_change_is_a_version_to_wait_on(lab: World) -> None:
    known = {"If-None-Match": put(lab, "stopped").headers["etag"]}
    assert lab.client().get(WEB, headers=known).status_code == 304


def test_a_known_version_of_one_object_answers_304_and_waits(lab: World) -> None:
    client = lab.client()
    tag = client.get(WEB).headers["etag"]
    found = client.get(WEB).json()
    assert tag.startswith(f'"{found["id"]}:1:')
    known = {"If-None-Match": tag}
    assert client.get(WEB, headers=known).status_code == 304
    start = time.monotonic()
    assert client.get(WEB, headers=known | {"Prefer": "wait=0.3"}).status_code == 304
    assert time.monotonic() - start >= 0.3
    timer = threading.Timer(0.1, lambda: put(lab, "stopped"))
    timer.start()
    answer = client.get(WEB, headers=known | {"Prefer": "wait=20"})
    assert (answer.status_code, answer.json()["generation"]) == (200, 2)
    timer.join()
    assert client.get("/iaas/images/disk", headers={"If-None-Match": tag}).status_code == 200
