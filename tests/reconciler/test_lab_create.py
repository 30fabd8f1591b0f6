"""POST of the lab: nodes, images and machines in JSON, which become manifests of source `api`."""

import json
import threading
from typing import Any

import pytest

from manifests.kinds import KINDS
from manifests.schema import schema_of
from reconciler.core.lab import RENAMED, fields_of
from tests.reconciler.hostile import MIB, Unread, refused
from tests.reconciler.world import SHA256, World, document, machine, raw

DISK = {"name": "disk", "format": "raw", "sha256": SHA256}


@pytest.fixture
def lab(world: World) -> World:
    """With an image that is there."""
    world.upload()
    post(world, "images", DISK)
    return world


def post(world: World, plural: str, data: dict[str, Any], status: int = 201) -> dict[str, Any]:
    answer = world.client().post(f"/iaas/{plural}", json=data)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def test_a_machine_is_made_and_found_where_the_answer_says(lab: World) -> None:
    answer = lab.client().post("/iaas/machines", json={"image": "disk", "name": "web", "mem": 512})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["name"], made["mem"], made["state"], made["source"]) == (
        "web",
        512,
        "pending",
        "api",
    )
    assert answer.headers["location"] == f"/iaas/machines/{made['id']}"
    assert lab.client().get(answer.headers["location"]).json() == made
    assert made["created"] == 1000.0


def test_nodes_and_images_are_found_by_name(world: World) -> None:
    world.upload()
    client = world.client()
    for plural, data in (("images", DISK), ("nodes", {"name": "n1", "addr": "h:7701"})):
        answer = client.post(f"/iaas/{plural}", json=data)
        assert answer.headers["location"] == f"/iaas/{plural}/{data['name']}"
        assert client.get(answer.headers["location"]).json() == answer.json()


def test_every_field_of_a_machine_arrives_in_its_manifest(lab: World) -> None:
    post(lab, "nodes", {"name": "n1", "addr": "h:7701"})
    container = {"name": "app", "registry": "nginx@sha256:" + "0" * 64}
    assert post(lab, "images", container)["type"] == "docker"
    data = {
        "image": "app",
        "name": "web",
        "type": "docker",
        "mem": "2Gi",
        "cpus": 0.5,
        "node": "n1",
        "ports": ["8080:80", "53:53/udp"],
        "state": "stopped",
        "env": {"A": "b"},
        "command": ["serve"],
        "restart": "never",
        "onNodeFailure": "wait",
        "labels": {"app": "shop"},
    }
    post(lab, "machines", data)
    spec = {key: value for key, value in data.items() if key not in ("name", "labels", "mem")}
    spec |= {"memory": "2Gi", "restart": {"policy": "never"}}
    same = document("Machine", "web", **spec)
    same["metadata"]["labels"] = data["labels"]
    answer = lab.client().post("/iaas/apply?dryRun=true", json={"documents": [same]})
    assert (answer.status_code, answer.json()["lines"]) == (200, [])


def test_every_field_of_a_node_arrives_in_its_manifest(world: World) -> None:
    node = {
        "name": "n1",
        "addr": "h:7701",
        "capacity": {"cpus": 4, "mem": 2048},
        "publisher": "pwncat",
        "labels": {"rack": "a"},
    }
    made = post(world, "nodes", node)
    assert made["spec"] == {
        "address": "h:7701",
        "capacity": {"cpus": 4, "memory": "2Gi"},
        "publisher": "pwncat",
    }
    assert (made["capacity"], made["labels"]) == ({"cpus": 4, "mem": 2048}, {"rack": "a"})


def test_every_field_of_every_kind_has_a_name_for_the_lab() -> None:
    """So a new field of a kind can be sent, and is described, without a line here."""
    for kind in KINDS.values():
        names = {RENAMED.get(name, name) for name in schema_of(kind.spec)["properties"]}
        assert set(fields_of(kind.name)) == names | {"name", "labels"}


@pytest.mark.parametrize(
    ("format_", "type_"), [("raw", "libvirt"), ("qcow2", "libvirt"), ("docker-archive", "docker")]
)
def test_the_type_of_an_image_follows_from_its_format(
    world: World, format_: str, type_: str
) -> None:
    data = {"name": "x", "format": format_, "sha256": SHA256}
    found = post(world, "images", data, 422)  # its bytes are not here, which is said last
    assert (found["field"], found["faults"][0]["message"]) == ("sha256", "the bytes are not here")
    assert post(world, "images", data | {"type": "docker"}, 422)["field"] == (
        "sha256" if type_ == "docker" else "format"
    )


# -- names -------------------------------------------------------------------------------------------


def test_a_machine_without_a_name_is_named_after_its_image_and_id(lab: World) -> None:
    made = [post(lab, "machines", {"image": "disk"}) for _ in range(3)]
    assert [item["name"] for item in made] == [f"disk-{item['id'][:8]}" for item in made]


def test_a_name_that_was_made_up_fits_and_is_nobodys(lab: World) -> None:
    long = "x" * 63
    post(lab, "images", DISK | {"name": long})
    following = int(post(lab, "machines", {"image": "disk"})["id"][:8], 16) + 2
    taken = f"{long[:54]}-{following:08x}"
    post(lab, "machines", {"image": "disk", "name": taken})
    made = post(lab, "machines", {"image": long})
    assert made["name"] == f"{long[:54]}-{following + 1:08x}"
    assert len(made["name"]) == 63


@pytest.mark.parametrize("source", ["api", "set:shop"])
def test_a_name_that_is_taken_names_its_owner(lab: World, source: str) -> None:
    lab.desk.apply([machine("web")], source=source)
    writes = lab.store.writes
    found = post(lab, "machines", {"image": "disk", "name": "web"}, 409)
    assert found["message"].startswith(f"machine 'web' exists already and belongs to {source}")
    (conflict,) = found["conflicts"]
    assert (conflict["name"], conflict["owner"]) == ("web", source)
    assert lab.store.writes == writes


def test_a_name_on_its_way_out_is_taken_still(lab: World) -> None:
    lab.desk.apply([machine("web")])
    lab.desk.delete([("Machine", "web")])
    found = post(lab, "machines", {"image": "disk", "name": "web"}, 409)
    assert "is being deleted" in found["message"]


def test_of_1000_creations_of_one_name_one_succeeds(lab: World) -> None:
    """The rest is told that the name is taken, or to come back."""
    body, statuses = b'{"image":"disk","name":"web"}', list[int]()
    start = threading.Barrier(50)

    def create() -> None:
        start.wait()
        for _ in range(20):
            statuses.append(raw(lab.app, "POST", "/iaas/machines", body)[0])

    threads = [threading.Thread(target=create) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(statuses), statuses.count(201)) == (1000, 1)
    assert set(statuses) <= {201, 409, 429}
    assert len(lab.store.snapshot().of_kind("Machine")) == 1


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plural", "data", "field", "words"),
    [
        ("machines", {}, "image", "missing"),
        ("machines", {"image": "nope"}, "", "does not exist"),
        ("machines", {"image": "disk", "memroy": 1}, "memroy", "did you mean 'mem'?"),
        ("machines", {"image": "disk", "memory": 1}, "memory", "did you mean 'mem'?"),
        ("machines", {"image": "disk", "colour": 1}, "colour", "the fields here are name, image"),
        ("machines", {"image": "disk", "id": "x"}, "id", "is read-only"),
        ("machines", {"image": "disk", "ip": "10.0.0.1"}, "ip", "is read-only"),
        ("machines", {"image": "disk", "reason": ""}, "reason", "is read-only"),
        ("machines", {"image": "disk", "spec": {}}, "spec", "is read-only"),
        ("machines", {"image": "disk", "source": "set:x"}, "source", "is read-only"),
        ("machines", {"image": "disk", "mem": 4}, "mem", "'4Mi' is out of range"),
        ("machines", {"image": "disk", "mem": 0}, "mem", "0 is not an amount of memory"),
        ("machines", {"image": "disk", "mem": -5}, "mem", "-5 is not an amount"),
        ("machines", {"image": "disk", "mem": 256.5}, "mem", "256.5 is not an amount"),
        ("machines", {"image": "disk", "mem": True}, "mem", "True is not an amount"),
        ("machines", {"image": "disk", "mem": "256"}, "mem", "write 256Mi or 2Gi"),
        ("machines", {"image": "disk", "mem": 10**30}, "mem", "is not an amount"),
        ("machines", {"image": "disk", "mem": None}, "mem", "has no value"),
        ("machines", {"image": "disk", "cpus": 0}, "cpus", "out of range"),
        ("machines", {"image": "disk", "cpus": 0.5}, "", "a libvirt machine has whole processors"),
        ("machines", {"image": "disk", "name": "Web"}, "name", "is not a name"),
        ("machines", {"image": "disk", "name": "web\n"}, "name", "is not a name"),
        ("machines", {"image": "disk", "name": ""}, "name", "is not a name"),
        ("machines", {"image": 5}, "image", "5 is not a name"),
        ("machines", {"image": "disk", "state": "paused"}, "state", "running, stopped"),
        ("machines", {"image": "disk", "ports": "80:80"}, "ports", "expected a list"),
        ("machines", {"image": "disk", "ports": ["80"]}, "ports[0]", "is not a port"),
        ("machines", {"image": "disk", "ports": ["8:80", "8:81"]}, "ports[1]", "already used"),
        ("machines", {"image": "disk", "restart": "maybe"}, "restart", "always, on-failure, never"),
        ("machines", {"image": "disk", "restart": {"policy": "never"}}, "restart", "not an object"),
        ("machines", {"image": "disk", "labels": {"iaas.x": "1"}}, "labels", "is reserved"),
        ("machines", {"image": "disk", "type": "docker"}, "", "is of type docker"),
        ("nodes", {"name": "n"}, "addr", "missing"),
        ("nodes", {"addr": "h:1"}, "name", "missing"),
        ("nodes", {"name": "n", "addr": "h"}, "addr", "is not an address"),
        ("nodes", {"name": "n", "addr": "h:1", "address": "h:1"}, "address", "mean 'addr'?"),
        ("nodes", {"name": "n", "addr": "h:1", "capacity": 4}, "capacity", "expected an object"),
        (
            "nodes",
            {"name": "n", "addr": "h:1", "capacity": {"memory": "1Gi"}},
            "capacity.memory",
            "did you mean 'mem'?",
        ),
        (
            "nodes",
            {"name": "n", "addr": "h:1", "capacity": {"mem": 1}},
            "capacity.mem",
            "'1Mi' is out of range",
        ),
        ("nodes", {"name": "n", "addr": "h:1", "state": "ready"}, "state", "is read-only"),
        ("images", {"name": "x"}, "type", "docker-archive, registry, qcow2, raw"),
        ("images", {"name": "x", "format": "vmdk"}, "format", "'vmdk' is not one of"),
        ("images", {"name": "x", "format": []}, "format", "must be one of"),
        ("images", {"format": "raw"}, "name", "missing"),
        ("images", {"name": "x", "format": "raw", "size": 5}, "size", "is read-only"),
        ("images", {"name": "x", "format": "raw", "sha256": "0"}, "sha256", "not a sha256"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_said_in_the_labs_words(
    lab: World, plural: str, data: dict[str, Any], field: str, words: str
) -> None:
    status = 422 if field else 409
    found = refused(lab, status, "POST", f"/iaas/{plural}", json.dumps(data).encode())
    assert found["field"].startswith(field)
    assert words in found["message"] + found["hint"]
    assert not field or found["faults"][0]["path"][0] == field.partition(".")[0].partition("[")[0]


def test_all_faults_are_said_at_once(lab: World) -> None:
    body = b'{"image":"Disk","mem":1,"ports":["x"],"restart":"no"}'
    found = refused(lab, 422, "POST", "/iaas/machines", body)
    paths = [fault["path"] for fault in found["faults"]]
    assert sorted(map(str, paths)) == ["['image']", "['mem']", "['ports', 0]", "['restart']"]


@pytest.mark.parametrize("plural", ["nodes", "images", "machines"])
def test_bodies_have_a_limit(world: World, plural: str) -> None:
    environ = {"CONTENT_LENGTH": str(MIB + 1), "wsgi.input": Unread()}
    refused(world, 413, "POST", f"/iaas/{plural}", **environ)


LARGE: dict[str, dict[str, Any]] = {
    "many unknown fields": {f"f{number}": 1 for number in range(60_000)},
    "many alike": {f"mem{number}": 1 for number in range(50_000)},
    "a long name": {"image": "disk", "name": "a" * 1_000_000},
    "a long field": {"image": "disk", "a" * 1_000_000: 1},
    "many ports": {"image": "disk", "ports": ["8080:80"] * 80_000},
    "many labels": {"image": "disk", "labels": {f"l{number}": "" for number in range(60_000)}},
    "much environment": {"image": "disk", "env": {f"E{number}": 1 for number in range(50_000)}},
    "a long command": {"image": "disk", "command": [1] * 300_000},
    "a large number": {"image": "disk", "mem": 10**4000},
    "nested": {"image": "disk", "labels": {"a": [[[[[[[[[[]]]]]]]]]] * 20_000}},
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_body_of_nonsense_is_refused_at_once(lab: World, name: str) -> None:
    """Nobody burns a second of ours with one request."""
    found = refused(lab, 422, "POST", "/iaas/machines", json.dumps(LARGE[name]).encode())
    assert 1 <= len(found["faults"]) <= 100
    assert len(json.dumps(found)) < 100_000


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"a":1,"a":2}', b'{"mem":NaN}', b"\xff"])
def test_bodies_are_taken_strictly(world: World, body: bytes) -> None:
    refused(world, 400, "POST", "/iaas/machines", body)


def test_no_secret_of_an_environment_is_quoted(lab: World) -> None:
    body = json.dumps({"image": "disk", "type": "docker", "env": {"A": "hunter2\x00"}}).encode()
    assert "hunter2" not in json.dumps(refused(lab, 422, "POST", "/iaas/machines", body))


def test_a_machine_on_a_node_that_is_not_there_is_refused(lab: World) -> None:
    wanted = {"image": "disk", "name": "web", "node": "nod1"}
    body = json.dumps(wanted).encode()
    (conflict,) = refused(lab, 409, "POST", "/iaas/machines", body)["conflicts"]
    assert conflict["message"] == "machine 'web': there is no node 'nod1'"
    assert conflict["hint"] == "add one first"
    for name in ("node1", "other"):
        post(lab, "nodes", {"name": name, "addr": f"{name}:7701"})
    (conflict,) = refused(lab, 409, "POST", "/iaas/machines", body)["conflicts"]
    assert conflict["hint"] == "did you mean 'node1'?"
    post(lab, "machines", wanted | {"node": "node1"})
