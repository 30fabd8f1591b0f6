"""The main job: a file with containers and VMs is applied, and what it says is there and answers."""

import json

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.ports import fetch

pytestmark = [pytest.mark.docker, pytest.mark.libvirt, pytest.mark.timeout(200)]


def test_pages_answer_on_loopback_and_on_the_hosts_address(cluster: Cluster, address: str) -> None:
    for host in ("127.0.0.1", address):
        assert "hello from container web1" in fetch(cluster.web_port, host)
        assert "hello from VM vm-" in fetch(cluster.vm_port, host)


def test_a_second_apply_changes_nothing_and_restarts_nothing(cluster: Cluster) -> None:
    cluster.settle()
    before, events = cluster.objects(), cluster.lab.events()
    assert "no changes" in cluster.apply().out
    assert cluster.objects() == before
    assert cluster.lab.events() == events


def test_plan_tells_by_its_exit_code_whether_there_are_changes(cluster: Cluster) -> None:
    cluster.settle()
    same, other = cluster.plan(), cluster.plan(web={"memory": "48Mi"})
    assert (same.code, same.out) == (0, "no changes\n")
    assert other.code == 2
    assert "~ update machine web1" in other.out
    assert "memory  32Mi -> 48Mi  (in place: " in other.out
    assert cluster.plan().code == 0, "a plan changes nothing"


def test_what_get_shows(cluster: Cluster) -> None:
    table = cluster.lab.ctl("get", "machines").out.splitlines()
    assert table[0].split() == ["NAME", "STATE", "NODE", "IMAGE", "PORTS", "AGE", "ID", "REASON"]
    assert [line.split()[:5] for line in table[1:]] == [
        ["vm1", "running", "n1", "vm", f"{cluster.vm_port}:80/tcp"],
        ["web1", "running", "n1", "web", f"{cluster.web_port}:80/tcp"],
    ]
    shown = cluster.lab.machines()
    assert (shown["web1"]["type"], shown["vm1"]["type"]) == ("docker", "libvirt")
    assert all(item["ready"] for item in shown.values())
    assert f"/{shown['web1']['instance']}" == cluster.container()["Name"]
    assert shown["vm1"]["instance"] == cluster.domain().name()
    node = cluster.lab.get("node", "n1")
    assert (node["state"], node["machines"], node["used"]["mem"]) == ("ready", 2, 160)
    assert [driver["ok"] for driver in node["drivers"]] == [True, True]
    assert {item["name"] for item in cluster.lab.get("images")} == {"vm", "web"}


def test_what_describe_and_events_show(cluster: Cluster) -> None:
    told = cluster.lab.ctl("describe", "machine", "vm1").out
    assert told.startswith("machine vm1 is as its manifest wants it: running\n")
    assert "\nlast events:\nTIME " in told
    assert "machines on it:" in cluster.lab.ctl("describe", "node", "n1").out
    reasons = [event["reason"] for event in cluster.lab.events("machine/vm1")]
    assert reasons[:3] == ["Created", "Placed", "Running"]
    assert cluster.lab.ctl("get", "machine", "nobody", code=4).err.startswith("error: ")


def test_schema_and_version(cluster: Cluster) -> None:
    schema = json.loads(cluster.lab.ctl("schema", "machine").out)
    assert {"image", "memory", "ports"} <= set(schema["properties"]["spec"]["properties"])
    told = cluster.lab.ctl("version").out.splitlines()
    assert [line.partition(": ")[0] for line in told] == ["client", "server"]
