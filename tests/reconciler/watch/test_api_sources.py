"""Watched directories through the REST API."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.reconciler.watch.trees import Watched, commit, node, nodes, repository
from tests.reconciler.world import VIEWER, World, document, image, machine

Watch = Callable[..., Watched]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    return tmp_path / "shop"


@pytest.fixture
def watched(world: World, watch: Watch, shop: Path) -> Watched:
    found = watch(shop)
    world.deps.sources = found.sources
    return found


@pytest.fixture
def api(world: World) -> httpx2.Client:
    return world.client()


def test_none_are_watched(api: httpx2.Client) -> None:
    assert api.get("/iaas/sources").json() == []
    answer = api.get("/iaas/sources/dir:shop")
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_what_is_shown_of_one(
    world: World, watched: Watched, shop: Path, api: httpx2.Client
) -> None:
    repository(shop)
    nodes(shop, 1, 2)
    good = commit(shop)
    watched.look()
    (one,) = world.client(VIEWER).get("/iaas/sources").json()
    assert one == api.get("/iaas/sources/dir:shop").json()
    digest = one["digest"]
    assert len(digest) == 64
    assert one == {
        "name": "dir:shop",
        "path": str(shop),
        "kind": "git",
        "state": "applied",
        "ready": True,
        "reason": "",
        "commit": good,
        "digest": digest,
        "revision": world.store.snapshot().revision,
        "applied": world.now,
        "objects": 2,
        "found": {"commit": good, "digest": digest},
        "errors": [],
        "notes": [],
        "plan": [],
    }
    (shop / "n2.yaml").write_text(node(2).replace("address", "adress"))
    bad = commit(shop)
    watched.look()
    one = api.get("/iaas/sources/dir:shop").json()
    assert (one["state"], one["ready"], one["commit"]) == ("broken", False, good)
    assert one["found"]["commit"] == bad
    assert one["errors"][1] == {
        "file": "n2.yaml",
        "line": 6,
        "column": 3,
        "field": "spec.adress",
        "message": "unknown field",
        "hint": "did you mean 'address'?",
    }
    (event,) = api.get("/iaas/events", params={"kind": "Source", "limit": "1"}).json()
    assert (event["name"], event["reason"]) == ("dir:shop", "Broken")
    assert event["message"] == f"commit {bad}: {one['reason']}"


def test_its_name_is_nobody_elses(world: World, api: httpx2.Client) -> None:
    body = {"source": "dir:shop", "documents": [document("Node", "n1", address="a.example:1")]}
    answer = api.post("/iaas/apply", json=body)
    assert (answer.status_code, answer.json()["field"]) == (403, "source")
    assert "is a watched directory" in answer.json()["message"]
    assert world.store.snapshot().objects == {}


def test_approving_what_waits(
    world: World, watched: Watched, shop: Path, api: httpx2.Client
) -> None:
    world.upload()
    world.desk.apply([image(), document("Node", "node1", address="a.example:1")])
    nodes(shop, 1)
    for number in range(5):
        (shop / f"m{number}.yaml").write_text(yaml.safe_dump(machine(f"m{number}")))
    watched.look()
    world.place_all()
    for number in range(5):
        (shop / f"m{number}.yaml").unlink()
    watched.look()
    path = "/iaas/sources/dir:shop/approve"
    one = api.get("/iaas/sources/dir:shop").json()
    assert one["state"] == "waiting"
    assert [(line["action"], line["name"]) for line in one["plan"]] == [
        ("delete", f"m{number}") for number in range(5)
    ]
    wanted = {"digest": one["found"]["digest"]}
    assert world.client(VIEWER).post(path, json=wanted).status_code == 403
    for bad in ({}, {"digest": "", "commit": ""}, {"digest": "a", "commit": "b"}, {"x": "y"}):
        assert api.post(path, json=bad).status_code == 400
    other = api.post(path, json={"digest": "0" * 64})
    assert (other.status_code, other.json()["error"]) == (409, "conflict")
    assert wanted["digest"] in other.json()["message"]
    assert api.post("/iaas/sources/dir:x/approve", json=wanted).status_code == 404
    assert api.post(path, json=wanted).status_code == 202
    watched.look()
    assert api.get("/iaas/sources/dir:shop").json()["state"] == "applied"
    assert watched.objects == {"n1"}
    again = api.post(path, json=wanted)
    assert (again.status_code, again.json()["message"]) == (
        409,
        "nothing of dir:shop waits for approval",
    )


def test_a_client_that_waits_is_told_of_news(
    world: World, watched: Watched, shop: Path, api: httpx2.Client
) -> None:
    first = api.get("/iaas/sources")
    nodes(shop, 1)
    watched.look()
    tag = {"If-None-Match": first.headers["ETag"]}
    second = api.get("/iaas/sources", headers=tag)
    assert second.json()[0]["state"] == "applied"
    watched.look()
    tag = {"If-None-Match": second.headers["ETag"]}
    assert api.get("/iaas/sources", headers=tag).status_code == 304
