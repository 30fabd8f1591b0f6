"""What dies comes back by itself, as its restart policy says."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.documents import machine
from tests.e2e.engines import Engines, qemu_pid
from tests.e2e.lab import Lab
from tests.e2e.ports import answers, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(200)]

Record = Callable[[str, object], None]
WATCHED = 15.0


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def container_returns(cluster: Cluster, kill: Callable[[], object]) -> float:
    """Seconds from the kill until the page is back, of the same container, started anew."""
    before = cluster.container()
    began = time.monotonic()
    kill()
    until(
        "the container is started again", lambda: _started(cluster) != before["State"]["StartedAt"]
    )
    until("the container answers", lambda: answers(cluster.web_port))
    took = time.monotonic() - began
    assert cluster.container()["Id"] == before["Id"]
    return took


def _started(cluster: Cluster) -> str:
    return str(cluster.container()["State"]["StartedAt"])


@pytest.mark.libvirt
def test_killed_machines_answer_again(cluster: Cluster, record_property: Record) -> None:
    """The container is killed while the VM boots: neither holds up the other."""
    cluster.settle()
    qemu, inode = qemu_pid(cluster.domain()), cluster.disk().stat().st_ino
    times = {}
    ends: list[tuple[str, Callable[[], object]]] = [
        ("virsh destroy", lambda: cluster.domain().destroy()),
        ("kill -9 of qemu", lambda: killed(qemu_pid(cluster.domain()))),
    ]
    for way, end in ends:
        began = time.monotonic()
        end()
        handle = cluster.container()["Id"]
        times[f"docker kill, amid {way}"] = container_returns(
            cluster, lambda handle=handle: cluster.engines.docker.api.kill(handle)
        )
        pid = int(cluster.container()["State"]["Pid"])
        times[f"kill -9 in the container, amid {way}"] = container_returns(
            cluster, lambda pid=pid: killed(pid)
        )
        until("the VM answers", lambda: answers(cluster.vm_port))
        times[way] = time.monotonic() - began
    assert qemu_pid(cluster.domain()) != qemu
    assert cluster.disk().stat().st_ino == inode, "the VM has kept its disk"
    assert "Restarted" in [event["reason"] for event in cluster.lab.events("machine/vm1")]
    assert cluster.lab.machine("web1")["restarts"] >= 4
    for what, took in times.items():
        print(f"{what}: answers again after {took:.2f} s")
        record_property(what, round(took, 2))


def test_restart_policies_and_backoff(
    small: Lab, engines: Engines, record_property: Record
) -> None:
    """Five containers that end at once, watched for 15 s."""
    ends = {
        "always-0": ("always", 0),
        "always-3": ("always", 3),
        "failure-0": ("on-failure", 0),
        "failure-3": ("on-failure", 3),
        "never-3": ("never", 3),
    }
    documents = [
        machine(name, "idle", command=["sh", "-c", f"exit {code}"], restart={"policy": policy})
        for name, (policy, code) in ends.items()
    ]
    path = small.write(*documents, name="policies")
    since = time.time()
    small.ctl("apply", "-f", path)
    seen = starts(small, engines, since, since + WATCHED)
    print({name: [f"{at - since:.1f}" for at in times] for name, times in seen.items()})
    shown = small.machines()
    for name in ("always-0", "always-3", "failure-3"):
        assert 3 <= len(seen[name]) <= 7, "restarted, and not in a hot loop"
        gaps = [later - at for at, later in zip(seen[name], seen[name][1:], strict=False)]
        assert all(gap >= 2 ** (n - 1) / 2 for n, gap in enumerate(gaps) if n), gaps
        until("it waits", lambda name=name: "trying again after" in small.machine(name)["reason"])
        assert shown[name]["restarts"] in (len(seen[name]) - 1, len(seen[name])), "one since then"
        record_property(f"starts of {name} in 15 s", len(seen[name]))
    assert [len(seen[name]) for name in ("failure-0", "never-3")] == [1, 1]
    assert (shown["failure-0"]["state"], shown["failure-0"]["ready"]) == ("stopped", True)
    assert (shown["never-3"]["state"], shown["never-3"]["final"]) == ("failed", True)
    assert "exit code 3" in shown["never-3"]["reason"]
    small.ctl("delete", "-f", path, "--wait", "--approve")


def starts(lab: Lab, engines: Engines, since: float, to: float) -> dict[str, list[float]]:
    """When each container of the lab was started, as Docker tells it; waits for the end."""
    found: dict[str, list[float]] = {}
    time.sleep(max(0.0, to - time.time()))
    labels = {"label": f"iaas.cluster={lab.cluster}", "event": "start"}
    for event in engines.docker.events(since=since, until=to, filters=labels, decode=True):
        name = event["Actor"]["Attributes"]["iaas.name"]
        found.setdefault(name, []).append(event["timeNano"] / 1e9)
    return found
