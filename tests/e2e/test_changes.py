"""What a change does to what runs: in place, by a restart, or by something new; and the plan says so."""

from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Build
from tests.e2e.documents import image, machine, vm
from tests.e2e.engines import Engines, qemu_pid, said
from tests.e2e.lab import Lab
from tests.e2e.ports import answers, fetch, free_port, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(200)]
libvirt = pytest.mark.libvirt


def limits(container: dict[str, Any]) -> tuple[int, int]:
    host = container["HostConfig"]
    return host["Memory"] >> 20, host["NanoCpus"] // 1_000_000


@libvirt
def test_limits_of_a_container_change_in_place(cluster: Cluster) -> None:
    cluster.settle()
    before = cluster.objects()
    change = {"memory": "48Mi", "cpus": 0.5}
    told = cluster.plan(web=change).out
    for field in ("memory  32Mi -> 48Mi", "cpus    0.2 -> 0.5"):
        assert f"{field}  (in place: the engine changes limits of a running container)" in told
    cluster.apply(web=change)
    assert limits(cluster.container()) == (48, 500)
    assert cluster.objects() == before, "nothing was made anew or restarted"
    cluster.settle()
    assert limits(cluster.container()) == (32, 200)


@libvirt
def test_a_vm_restarts_for_memory_and_keeps_its_disk(cluster: Cluster) -> None:
    cluster.settle()
    before, disk = cluster.objects(), cluster.disk()
    inode = disk.stat().st_ino
    told = cluster.plan(vm1={"memory": "160Mi"}).out
    assert "! restart machine vm1" in told
    assert "memory  128Mi -> 160Mi  (restart: the disk stays; " in told
    cluster.apply(vm1={"memory": "160Mi"})
    after = cluster.objects()
    assert after["domain"] == before["domain"]
    assert after["qemu"] != before["qemu"]
    assert cluster.domain().maxMemory() == 160 << 10
    assert (cluster.disk(), disk.stat().st_ino) == (disk, inode)
    assert [after[key] for key in ("container", "pid")] == [
        before[key] for key in ("container", "pid")
    ]
    until("the VM answers again", lambda: answers(cluster.vm_port))
    assert cluster.lab.machine("vm1")["restarts"] == 0, "what we stop is no failure"
    cluster.apply()  # nobody waits for its page: the next test does


@libvirt
def test_ports_of_a_vm_change_in_place(cluster: Cluster, address: str) -> None:
    cluster.settle()
    pid, port = qemu_pid(cluster.domain()), free_port()
    assert (
        "(in place: the node publishes them, not the guest)" in cluster.plan(vm1={"port": port}).out
    )
    cluster.apply(vm1={"port": port})
    assert "hello from VM" in fetch(port)
    assert "hello from VM" in fetch(port, address)
    assert not answers(cluster.vm_port)
    cluster.settle()
    assert not answers(port)
    assert qemu_pid(cluster.domain()) == pid


@libvirt
def test_env_and_ports_replace_a_container(cluster: Cluster) -> None:
    cluster.settle()
    before, port = cluster.container(), free_port()
    change = {"env": {"GREETING": "servus"}, "port": port}
    told = cluster.plan(web=change).out
    assert "± replace machine web1" in told
    assert "(replace: a container's environment is fixed when it is created)" in told
    assert "(replace: a container's ports are fixed when it is created)" in told
    cluster.apply(web=change)
    until("the new one answers", lambda: "servus from container web1" in answers(port))
    assert not answers(cluster.web_port)
    after = cluster.container()
    assert after["Id"] != before["Id"]
    uids = [found["Config"]["Labels"]["iaas.uid"] for found in (before, after)]
    epochs = [int(found["Config"]["Labels"]["iaas.epoch"]) for found in (before, after)]
    assert uids[0] == uids[1]
    assert epochs[0] < epochs[1]
    cluster.settle()


@libvirt
def test_stopped_and_running_again(cluster: Cluster) -> None:
    cluster.settle()
    before, disk = cluster.objects(), cluster.disk().stat().st_ino
    off = {"state": "stopped"}
    cluster.apply(web=off, vm1=off)
    shown = cluster.lab.machines()
    assert [shown[name]["state"] for name in ("web1", "vm1")] == ["stopped", "stopped"]
    assert all(shown[name]["ready"] for name in ("web1", "vm1"))
    assert not cluster.container()["State"]["Running"]
    assert not cluster.domain().isActive()
    assert not answers(cluster.web_port)
    cluster.apply()
    until("the container answers", lambda: answers(cluster.web_port))
    after = cluster.objects()
    assert (after["container"], after["domain"]) == (before["container"], before["domain"])
    assert cluster.disk().stat().st_ino == disk
    restarts = [item["restarts"] for item in cluster.lab.machines().values()]
    assert "no changes" in cluster.apply().out
    assert [item["restarts"] for item in cluster.lab.machines().values()] == restarts


@libvirt
def test_a_machine_that_is_no_longer_named_is_gone_completely(cluster: Cluster) -> None:
    port = free_port()
    cluster.apply(vm("vm2", port=port))
    domain = cluster.engines.domain(cluster.lab, "vm2")
    uid, pid = cluster.lab.machine("vm2")["id"], qemu_pid(domain)
    table = said("nft", "list", "ruleset")
    assert f"tcp . {port} " in table
    assert list((cluster.lab.state / "disks").glob(f"{uid}.*"))
    assert "- delete machine vm2" in cluster.apply().out
    assert len(cluster.engines.domains(cluster.lab)) == 1
    assert not list((cluster.lab.state / "disks").glob(f"{uid}.*"))
    assert f"tcp . {port} " not in said("nft", "list", "ruleset")
    until("qemu has ended", lambda: f"/{pid}/" not in said("sh", "-c", "echo /proc/[0-9]*/"))
    cluster.lab.ctl("get", "machine", "vm2", code=4)


def test_new_bytes_of_an_image_replace_and_volumes_go_along(
    small: Lab, engines: Engines, build: Build
) -> None:
    documents = [image("bytes", build("2")), machine("m", "bytes")]
    small.apply(*documents, name="bytes")
    first = engines.container(small, "m")
    documents[0] = image("bytes", build("3"))
    told = small.ctl("plan", "-f", small.write(*documents, name="bytes"), code=2).out
    assert "± replace machine m" in told
    assert "image: the image has other bytes" in told
    small.apply(*documents, name="bytes")
    second = engines.container(small, "m")
    assert first["Image"] != second["Image"]
    volumes = [mount["Name"] for found in (first, second) for mount in found["Mounts"]]
    assert len(set(volumes)) == 2
    assert volumes[1] in said("docker", "volume", "ls", "-q")
    small.ctl("delete", "-f", str(small.dir / "bytes.yaml"), "--wait")
    assert engines.containers(small) == []
    assert not set(volumes) & set(said("docker", "volume", "ls", "-q").split())
