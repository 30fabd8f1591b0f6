"""Lists by fields, in the two ways the lab has; and that the table of fields is what views show."""

from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from manifests.kinds.image import MachineType
from manifests.scalars import Cpus, Memory, Protocol
from manifests.wire import DriverReport, Foreign, Listener, MachineReport, Phase, Report
from reconciler.core.fields import FIELDS, view_schema
from reconciler.core.model import NodeState, Seen
from reconciler.core.view import views
from tests.reconciler.hostile import refused
from tests.reconciler.world import World, document, machine, node


@pytest.fixture
def lab(world: World) -> World:
    world.run(2)
    shop = machine("shop", cpus=2, ports=["8080:80"])
    shop["metadata"]["labels"] = {"app": "shop", "app.kubernetes.io/x": "y=z,w"}
    world.desk.apply(
        [shop, node("n2"), document("Node", "n3", address="h:1", capacity={"cpus": 8})]
    )
    placed = world.store.snapshot().placements
    machines = tuple(
        MachineReport(
            uid=item.uid,
            epoch=item.epoch,
            phase=Phase.RUNNING if number else Phase.FAILED,
            exit_code=None if number else 3,
            ip="10.0.0.5",
            since=5.5,
        )
        for number, item in enumerate(placed)
    )
    report = Report(
        node=placed[0].node,
        boot="b",
        revision=1,
        generation=9,
        cpus=Cpus(4000),
        memory=Memory(4096),
        drivers=(DriverReport(type=MachineType.LIBVIRT, ok=True),),
        machines=machines,
        foreign=(Foreign(type=MachineType.DOCKER, name="x", ports=("80/tcp",)),),
        listeners=(Listener(protocol=Protocol.TCP, port=22, process="sshd"),),
    )
    world.cluster.see("node1", Seen(NodeState.READY, report))
    return world


def names(world: World, path: str) -> list[str]:
    answer = world.client().get(path)
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["m00", "m01", "shop"]),
        ("query=", ["m00", "m01", "shop"]),
        ("query=state%3Drunning", ["m01"]),
        ("query=state=running,node=node1", ["m01"]),
        ("query=state=running,node=n2", []),
        ("query=state=running&node=node1", ["m01"]),
        ("state=pending", ["shop"]),
        ("query=state=running,state=pending", []),
        ("query=labels.app=shop", ["shop"]),
        ("labels.app.kubernetes.io/x=y%3Dz%2Cw", ["shop"]),
        ("labels.app=", ["m00", "m01"]),
        ("query=node=", ["shop"]),
        ("ports=8080:80/tcp", ["shop"]),
        ("query=spec.cpus=2,ready=false", ["shop"]),
        ("exitCode=3", ["m00"]),
        ("name=sho", []),
        ("name=SHOP", []),
    ],
)
def test_machines_by_their_fields(lab: World, query: str, found: list[str]) -> None:
    assert names(lab, f"/iaas/machines?{query}") == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/iaas/nodes?query=capacity.cpus=8,ready=false", ["n3"]),
        ("/iaas/nodes?capacity.mem=4096", ["node1"]),
        ("/iaas/nodes?used.cpus=2.0&state=ready", ["node1"]),
        ("/iaas/images?query=machines=shop,type=libvirt", ["disk"]),
        ("/iaas/images?format=qcow2", []),
    ],
)
def test_nodes_and_images_by_theirs(lab: World, path: str, found: list[str]) -> None:
    assert names(lab, path) == found


@pytest.mark.parametrize("plural", ["nodes", "images", "machines"])
@pytest.mark.parametrize("query", ["colour=red", "query=colour%3Dred"])
def test_an_unknown_field_is_refused_of_an_empty_list_too(
    world: World, plural: str, query: str
) -> None:
    found = refused(world, 400, "GET", f"/iaas/{plural}", QUERY_STRING=query)
    assert found["field"] == "colour"
    assert found["hint"].startswith("fields: id, name, ")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("query=state", "query"),
        ("query=,", "query"),
        ("query=state=running,", "query"),
        ("query==x", ""),
        ("query=query=x", "query"),
        ("query=name.x=1", "name.x"),
        ("query=capacity=1", "capacity"),
        ("capacity.colour=1", "capacity.colour"),
        ("spec.colour=1", "spec.colour"),
        ("spec.=1", "spec."),
        ("query=" + ",".join(["name=a"] * 33), "query"),
        ("query=" + "x" * 5000 + "=1", "x" * 100),
        ("query=state=a&query=state=b", ""),
    ],
    ids=lambda value: value[:30],
)
def test_what_cannot_be_asked_for_is_refused(world: World, query: str, field: str) -> None:
    assert refused(world, 400, "GET", "/iaas/machines", QUERY_STRING=query)["field"] == field


@pytest.mark.parametrize("kind", ["Node", "Image", "Machine"])
def test_the_table_of_fields_is_what_views_show(lab: World, kind: str) -> None:
    snapshot = lab.cluster.snapshot()
    gone = {key: replace(item, deleting=True) for key, item in snapshot.objects.items()}
    checker: Any = jsonschema.Draft202012Validator(view_schema(kind))
    for state in (snapshot, replace(snapshot, objects=gone)):
        found = views(state, kind, secrets=True)
        assert found
        for item in found:
            assert list(item) == list(FIELDS[kind])
            checker.validate(item)
