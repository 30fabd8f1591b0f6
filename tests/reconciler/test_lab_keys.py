"""Idempotency keys: whoever got no answer asks again, and gets what was made the first time."""

import json
import threading
from typing import Any

import httpx2
import pytest

from reconciler.store import Store, keys
from tests.reconciler.hostile import refused
from tests.reconciler.world import OPERATOR, SHA256, World, image, raw

BODY = {"image": "disk", "name": "web"}


@pytest.fixture
def lab(world: World) -> World:
    world.upload()
    world.desk.apply([image()])
    return world


def post(
    world: World, data: dict[str, Any], key: str = "k", plural: str = "machines", **client: Any
) -> httpx2.Response:
    headers = {"Idempotency-Key": key}
    return world.client(**client).post(f"/iaas/{plural}", json=data, headers=headers)


def test_the_same_again_makes_nothing_new(lab: World) -> None:
    first = post(lab, BODY)
    writes = lab.store.writes
    again = post(lab, BODY)
    assert (first.status_code, again.status_code, lab.store.writes) == (201, 201, writes)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"


def test_a_machine_without_a_name_is_made_once(lab: World) -> None:
    first, again = post(lab, {"image": "disk"}), post(lab, {"image": "disk"})
    assert first.json()["id"] == again.json()["id"]
    other = post(lab, {"image": "disk"}, key="other")
    assert other.json()["id"] != first.json()["id"]


def test_spaces_and_order_do_not_make_another_request(lab: World) -> None:
    post(lab, BODY)
    body = b'{ "name" : "web", "image": "disk" }'
    status, _ = raw(lab.app, "POST", "/iaas/machines", body, HTTP_IDEMPOTENCY_KEY="k")
    assert status == 201


def test_the_answer_shows_what_has_become_of_it(lab: World) -> None:
    made = post(lab, BODY).json()
    lab.client().put("/iaas/machines/web", json={"state": "stopped"})
    assert post(lab, BODY).json()["spec"]["state"] == "stopped"
    lab.client().delete("/iaas/machines/web")
    again = post(lab, BODY)
    assert (again.status_code, again.json()["id"]) == (201, made["id"])
    assert again.json()["state"] == "deleting"


@pytest.mark.parametrize("plural", ["images", "nodes"])
def test_images_and_nodes_too(lab: World, plural: str) -> None:
    data = {"name": "n1", "addr": "h:1"}
    data = data if plural == "nodes" else {"name": "i", "format": "raw", "sha256": SHA256}
    first, again = post(lab, data, plural=plural), post(lab, data, plural=plural)
    assert (first.json()["id"], again.status_code) == (again.json()["id"], 201)


def test_a_key_stands_for_one_request(lab: World) -> None:
    post(lab, BODY)
    for answer in (
        post(lab, BODY | {"mem": 512}),
        post(lab, {"name": "n", "addr": "h:1"}, plural="nodes"),
        post(lab, BODY, token=OPERATOR),
    ):
        assert (answer.status_code, answer.json()["error"]) == (422, "key_reused")
    assert len(lab.store.snapshot().of_kind("Machine")) == 1


def test_what_was_made_and_is_gone_is_said_to_be_gone(lab: World) -> None:
    post(lab, BODY)
    lab.client().delete("/iaas/machines/web")
    lab.forget("web")
    answer = post(lab, BODY)
    assert (answer.status_code, answer.json()["error"]) == (410, "gone")
    assert post(lab, BODY, key="new").status_code == 201


def test_a_request_that_was_refused_leaves_its_key_free(lab: World) -> None:
    assert post(lab, BODY | {"image": "nope"}).status_code == 409
    assert post(lab, BODY).status_code == 201


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\xe9", "a\t", "a, b", "\x7f"])
def test_keys_are_visible_and_short(lab: World, key: str) -> None:
    body = json.dumps(BODY).encode()
    found = refused(lab, 400, "POST", "/iaas/machines", body, HTTP_IDEMPOTENCY_KEY=key)
    assert found["field"] == "Idempotency-Key"


@pytest.mark.parametrize("key", ["x" * 255, "!", '"a-uuid"', "~"])
def test_any_visible_key_will_do(lab: World, key: str) -> None:
    assert post(lab, BODY, key=key).status_code == 201


def test_of_1000_requests_with_one_key_one_makes_a_machine(lab: World) -> None:
    """S5: the others get the same machine, or are told to come back."""
    body = b'{"image":"disk"}'
    found: list[tuple[int, str]] = []
    start = threading.Barrier(50)

    def create() -> None:
        start.wait()
        for _ in range(20):
            status, data = raw(lab.app, "POST", "/iaas/machines", body, HTTP_IDEMPOTENCY_KEY="k")
            found.append((status, data.get("id", "")))

    threads = [threading.Thread(target=create) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (item,) = lab.store.snapshot().of_kind("Machine")
    assert len(found) == 1000
    assert set(found) <= {(201, item.uid), (429, "")}
    assert (201, item.uid) in found


def test_the_key_is_stored_with_the_machine_or_not_at_all(
    lab: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the process dies here")

    with monkeypatch.context() as patch:
        patch.setattr(keys, "insert", fail)
        assert post(lab, BODY).status_code == 500
    assert lab.store.snapshot().of_kind("Machine") == ()
    assert post(lab, BODY).status_code == 201
    # The answer did not arrive, and another process goes on with what is on the disk.
    lab.library.close()
    after = World(lab.library.root.parent, Store(lab.store.database))
    answer = post(after, BODY)
    assert (answer.status_code, answer.headers["idempotency-replayed"]) == (201, "true")
    assert len(after.store.snapshot().of_kind("Machine")) == 1


def test_keys_are_kept_for_a_day(lab: World) -> None:
    post(lab, BODY)
    lab.now += keys.KEPT_SECONDS - 1
    assert post(lab, BODY).status_code == 201
    lab.now += 2
    assert post(lab, BODY).status_code == 409  # a new request, and the name is taken
    assert post(lab, BODY | {"name": "db"}).status_code == 201
    assert lab.store.database.sql("SELECT count(*) FROM key_use") == [(1,)]


def test_only_so_many_keys_are_kept(lab: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "KEPT", 3)
    for number in range(5):
        assert post(lab, {"image": "disk"}, key=f"k{number}").status_code == 201
    known = lab.store.database.sql("SELECT key FROM key_use ORDER BY id")
    assert known == [("k2",), ("k3",), ("k4",)]
