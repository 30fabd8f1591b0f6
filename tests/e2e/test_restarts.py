"""Ending and starting our programs, however roughly, is not noticed by any machine."""

import signal

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.ports import Prober, until

pytestmark = [pytest.mark.docker, pytest.mark.libvirt, pytest.mark.timeout(200)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
@pytest.mark.parametrize("program", ["agent", "reconciler"])
def test_machines_answer_through_a_restart(
    cluster: Cluster, program: str, number: signal.Signals
) -> None:
    cluster.settle()
    before, events = cluster.objects(), cluster.lab.events()
    daemon = getattr(cluster.lab, program)
    with Prober(cluster.web_port) as web, Prober(cluster.vm_port) as vm:
        until("both are fetched", lambda: web.fetched > 4 and vm.fetched > 4)
        code = daemon.end(number)
        took = daemon.start()
        fetched = web.fetched, vm.fetched
        until(
            "all is known again",
            lambda: all(it["ready"] for it in cluster.lab.get("all")["machines"]),
        )
        until("fetched again", lambda: web.fetched > fetched[0] + 4 and vm.fetched > fetched[1] + 4)
    print(f"ready after {took:.2f} s; fetched {web.fetched} and {vm.fetched} pages meanwhile")
    assert code == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    assert (web.failures, vm.failures) == ([], [])
    assert cluster.objects() == before
    news = [event for event in cluster.lab.events() if event not in events]
    print(news)
    # An agent that starts says "Running" once more of a VM when it has checked its ports.
    assert {event["reason"] for event in news} <= {"Running"}
