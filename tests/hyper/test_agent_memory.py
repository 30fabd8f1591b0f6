"""What the agent must remember rightly: ports it could not publish, images of before its start,
machines that it stopped itself."""

from pathlib import Path

from hyper.core.publishing import CHECK
from hyper.core.shelf import KEPT
from hyper.core.steps import Publish
from manifests.kinds.machine import PowerState, RestartPolicy
from manifests.scalars import Port
from manifests.wire import Phase
from tests.hyper.making import LIBVIRT, assignment, exchange, placement
from tests.hyper.rig import Node, names


def port(text: str) -> Port:
    return Port.from_json(text)


def test_a_port_of_the_node_itself_is_not_taken_over(tmp_path: Path) -> None:
    node, ssh = Node(tmp_path, LIBVIRT), port("2222:22")
    node.ports.taken = {ssh: "port 2222/tcp of this node is in use by another program"}
    web = placement("web", type=LIBVIRT, ports=(port("8080:80"),))
    node.told(assignment(placement("vm", type=LIBVIRT, ports=(ssh,)), web))
    found = node.machine("vm")
    assert (found.phase, found.reason) == (Phase.STARTING, node.ports.taken[ssh])
    assert node.machine("web").phase is Phase.RUNNING
    node.ports.taken = {}
    node.later(CHECK)
    assert node.machine("vm").phase is Phase.RUNNING


def test_what_is_published_is_compared_with_the_kernel_now_and_then(tmp_path: Path) -> None:
    node = Node(tmp_path, LIBVIRT)
    node.told(assignment(placement("vm", type=LIBVIRT, ports=(port("8080:80"),))))
    before = node.report
    assert [step for step in node.later(CHECK - 1) if isinstance(step, Publish)] == []
    assert len([step for step in node.later(CHECK) if isinstance(step, Publish)]) == 1
    assert node.report is before


def test_an_image_in_use_since_before_the_start_is_dropped_in_the_end(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.told(assignment(placement()))
    node.boot()
    node.settle()
    node.told(assignment(generation=2, leaving=[("web", 1)]))
    assert names(node.later(KEPT)) == ["discard"]


def test_a_discard_that_failed_is_tried_again(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.told(assignment(placement()))
    node.told(assignment(generation=2, leaving=[("web", 1)]))
    node.engine.fault = lambda call: OSError(call) if call == "discard" else None
    assert names(node.later(KEPT)) == ["discard"]
    node.engine.fault = None
    assert names(node.later(KEPT)) == ["discard"]
    assert names(node.later(KEPT)) == []


def test_a_stop_that_never_happened_leaves_the_restart_policy_its_say(tmp_path: Path) -> None:
    node = Node(tmp_path)
    never = placement(restart=RestartPolicy.NEVER)
    node.told(assignment(never))
    stopped = placement(restart=RestartPolicy.NEVER, state=PowerState.STOPPED)
    node.agent.exchange(exchange(assignment(stopped, generation=2)))
    node.boot()  # killed before it stopped anything
    node.told(assignment(never, generation=3))
    assert node.machine().phase is Phase.RUNNING
    node.engine.finish(never.uid)
    node.settle()
    found = node.machine()
    assert (found.phase, found.final) == (Phase.STOPPED, True)


def test_a_machine_that_cannot_be_started_is_deleted_at_once(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.engine.fault = lambda call: OSError(call) if call == "start" else None
    node.told(assignment(placement()))
    for _ in range(5):
        node.later(60)
    node.engine.fault = None
    node.told(assignment(generation=2, leaving=[("web", 1)]))
    assert node.report.machines == ()


def test_a_vm_that_runs_when_the_agent_starts_runs(tmp_path: Path) -> None:
    node = Node(tmp_path, LIBVIRT)
    node.told(assignment(placement("vm", type=LIBVIRT, ports=(port("8080:80"),))))
    node.boot()
    phases = set()
    while steps := node.tick():
        phases |= {item.phase for item in node.report.machines}
        for step in steps:
            node.perform(step)
    assert phases <= {Phase.RUNNING}
    assert node.machine("vm").phase is Phase.RUNNING
