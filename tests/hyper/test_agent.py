"""The agent with simulated engines, step by step: what it does, and what it says of it."""

from pathlib import Path

import pytest

from hyper.agent import DESERTED
from hyper.core.admission import Refusal
from hyper.core.looking import LATER, SOON, STRANGERS
from hyper.core.steps import Create, Look
from manifests.kinds.image import MachineType
from manifests.kinds.machine import PowerState, RestartPolicy
from manifests.scalars import Memory, Name, Protocol
from manifests.wire import Listener, Phase
from tests.hyper.making import (
    DOCKER,
    LIBVIRT,
    OTHER,
    assignment,
    exchange,
    image,
    placement,
    port,
    uid,
)
from tests.hyper.rig import Node, names

WEB = uid("web")
STOPPED, NEVER = PowerState.STOPPED, RestartPolicy.NEVER


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
def running(node: Node) -> Node:
    node.told(assignment(placement()))
    assert node.machine().phase is Phase.RUNNING
    return node


def test_a_machine_is_made_and_runs(node: Node) -> None:
    node.agent.exchange(exchange(assignment(placement())))
    assert names(node.settle()) == ["prepare", "create", "start"]
    found = node.machine()
    assert (found.phase, found.epoch, found.restarts) == (Phase.RUNNING, 1, 0)
    assert found.instance == node.engine.running(WEB)[0].name
    assert (node.report.node, node.report.generation) == ("n1", 1)


def test_it_says_what_it_is_at(node: Node) -> None:
    node.agent.exchange(exchange(assignment(placement())))
    said = []
    while steps := node.tick():
        node.tick()
        said += [str(item.phase) for item in node.report.machines]
        for step in steps:
            node.perform(step)
    said += [str(item.phase) for item in node.report.machines]
    assert list(dict.fromkeys(said)) == ["preparing", "creating", "starting", "running"]


@pytest.mark.parametrize("seconds", [0, 1, 60, 3600])
def test_a_settled_agent_does_and_says_nothing_new(running: Node, seconds: float) -> None:
    report, mutations = running.report, running.mutations
    assert names(running.later(seconds)) == []
    assert running.report is report
    assert running.mutations == mutations


def test_the_same_word_again_is_no_news(running: Node) -> None:
    report = running.report
    assert not running.agent.exchange(exchange(assignment(placement())))
    assert names(running.settle()) == []
    assert running.report is report


def test_a_crash_is_repaired_at_once_then_later_and_later(running: Node) -> None:
    running.later(1)
    running.engine.kill(WEB)
    assert names(running.settle()) == ["start"]
    assert running.machine().restarts == 1
    running.engine.kill(WEB)
    assert names(running.settle()) == []
    assert running.machine().phase is Phase.FAILED
    assert "exit code 137: killed; trying again after" in running.machine().reason
    assert names(running.later(0.4)) == []
    assert names(running.later(0.6)) == ["start"]
    assert (running.machine().phase, running.machine().restarts) == (Phase.RUNNING, 2)


def test_what_somebody_removed_is_made_anew(running: Node) -> None:
    running.later(1)
    running.engine.vanish(WEB)
    assert names(running.settle()) == ["create", "start"]
    assert len(running.engine.running(WEB)) == 1


def test_a_reboot_of_the_node(running: Node) -> None:
    running.engine.reboot()
    running.boot()
    assert names(running.settle()) == ["start"]


def test_stopped_and_started_by_the_user(running: Node) -> None:
    running.told(assignment(placement(state=STOPPED), generation=2))
    assert running.machine().phase is Phase.STOPPED
    assert running.engine.running(WEB) == []
    assert names(running.later(3600)) == []
    running.told(assignment(placement(), generation=3))
    assert (running.machine().phase, running.machine().restarts) == (Phase.RUNNING, 0)


def test_policy_never_is_obeyed_but_not_against_the_user(node: Node) -> None:
    node.told(assignment(placement(restart=NEVER)))
    node.told(assignment(placement(restart=NEVER, state=STOPPED), generation=2))
    node.told(assignment(placement(restart=NEVER), generation=3))
    assert node.machine().phase is Phase.RUNNING
    node.engine.kill(WEB)
    assert names(node.settle()) == []
    assert node.machine().phase is Phase.FAILED
    assert node.machine().reason == "exit code 137: killed; restart policy never"
    assert node.machine().exit_code == 137
    assert names(node.later(3600)) == []
    node.told(assignment(placement(restart=NEVER, state=STOPPED), generation=4))
    node.told(assignment(placement(restart=NEVER), generation=5))
    assert node.machine().phase is Phase.RUNNING


def test_policy_on_failure_lets_a_good_end_be(node: Node) -> None:
    node.told(assignment(placement(restart=RestartPolicy.ON_FAILURE)))
    node.engine.kill(WEB)
    assert names(node.settle()) == ["start"]
    node.engine.finish(WEB)
    assert names(node.settle()) == []
    assert (node.machine().phase, node.machine().exit_code) == (Phase.STOPPED, 0)


def test_limits_change_in_place_where_the_engine_can(running: Node) -> None:
    running.agent.exchange(exchange(assignment(placement(memory=Memory(512)), generation=2)))
    assert names(running.settle()) == ["update"]
    assert running.engine.running(WEB)[0].memory == 512
    assert running.machine().restarts == 0


@pytest.mark.parametrize("policy", RestartPolicy)
def test_limits_change_by_a_restart_where_it_cannot(tmp_path: Path, policy: RestartPolicy) -> None:
    node = Node(tmp_path, LIBVIRT)
    node.told(assignment(placement(type=LIBVIRT, restart=policy)))
    bigger = placement(type=LIBVIRT, restart=policy, memory=Memory(512))
    node.agent.exchange(exchange(assignment(bigger, generation=2)))
    done = [name for name in names(node.settle()) if name != "publish"]
    assert done == ["stop", "update", "start"]
    assert node.engine.running(WEB)[0].memory == 512
    assert node.machine().restarts == 0


@pytest.mark.parametrize("steps", [1, 2])
def test_killed_amid_a_restart_it_is_finished_by_the_next(tmp_path: Path, steps: int) -> None:
    """The agent stopped it, so it is started again, whatever the restart policy says."""
    node = Node(tmp_path, LIBVIRT)
    node.told(assignment(placement(type=LIBVIRT, restart=NEVER)))
    bigger = placement(type=LIBVIRT, restart=NEVER, memory=Memory(512))
    node.agent.exchange(exchange(assignment(bigger, generation=2)))
    done: list[str] = []
    while len(done) < steps:
        for step in node.tick():
            node.perform(step)
            done += [name for name in names([step]) if name != "publish"]
    assert node.engine.running(WEB) == []
    node.boot()
    node.settle()
    assert node.machine().phase is Phase.RUNNING
    assert node.engine.running(WEB)[0].memory == 512


def test_a_tombstone_removes_it_and_then_nothing_is_said(running: Node) -> None:
    running.told(assignment(generation=2, leaving=[("web", 1)]))
    assert running.engine.of(WEB) == []
    assert running.report.machines == ()
    assert running.report.generation == 2


def test_a_tombstone_while_it_is_being_made(node: Node) -> None:
    """Until the call has ended, nobody may think that nothing is there."""
    node.agent.exchange(exchange(assignment(placement())))
    while not isinstance(step := (steps := node.tick())[0], Create):
        for each in steps:
            node.perform(each)
    node.agent.exchange(exchange(assignment(generation=2, leaving=[("web", 1)])))
    assert names(node.settle()) == []
    assert node.report.generation == 2
    assert (node.machine().epoch, node.machine().phase) == (1, Phase.CREATING)
    node.perform(step)
    assert names(node.settle()) == ["remove"]
    assert node.report.machines == ()
    assert node.engine.of(WEB) == []


def test_a_tombstone_of_an_earlier_epoch_leaves_the_later_one(running: Node) -> None:
    running.told(assignment(generation=2, leaving=[("web", 0)]))
    assert len(running.engine.running(WEB)) == 1
    assert running.machine().reason == "in no assignment of this node"


def test_what_is_in_no_assignment_is_told_and_left_alone(running: Node) -> None:
    """Absence from the list is no order to remove."""
    mutations = running.mutations
    running.told(assignment(generation=2))
    assert names(running.later(3600)) == []  # nor is its image dropped: its disk may rest on it
    assert (running.machine().phase, running.machine().epoch) == (Phase.RUNNING, 1)
    assert running.machine().reason == "in no assignment of this node"
    assert running.mutations == mutations
    running.engine.kill(WEB)
    assert names(running.settle()) == []
    assert running.machine().phase is Phase.STOPPED


def test_what_is_foreign_is_told_and_left_alone(running: Node) -> None:
    running.engine.add_foreign("postgres")
    running.agent.notify(DOCKER, None)
    mutations = running.mutations
    running.settle()
    assert [item.name for item in running.report.foreign] == ["postgres"]
    assert running.mutations == mutations


def test_what_strangers_publish_is_told_soon_and_once_more_later(running: Node) -> None:
    """Not at every event: they come and go as often as they like."""
    look = Look(type=DOCKER, handle=STRANGERS)
    running.engine.add_foreign("postgres", "5432/tcp")
    assert running.settle() == []
    running.engine.add_foreign("blog", "80/tcp")
    assert running.later(SOON) == [look]
    assert [item.ports for item in running.report.foreign] == [("80/tcp",), ("5432/tcp",)]
    assert running.later(SOON) == []
    assert running.later(LATER) == [look]
    assert running.later(LATER) == []


def test_only_the_programs_of_the_node_are_told_as_listeners(running: Node) -> None:
    """Not the engine's own, of which the engine tells whose ports they are."""

    def listener(number: int, process: str) -> Listener:
        return Listener(protocol=Protocol.TCP, port=number, process=process)

    ours = placement(ports=(port("8080:80"),), digest="e" * 64)
    running.told(assignment(ours, generation=2))
    nginx, daemon = listener(80, "nginx"), listener(2375, "dockerd")
    found = (nginx, daemon, listener(8080, "dockerd"), listener(8081, "docker-proxy"))
    running.agent.hear(found)
    running.settle()
    assert running.report.listeners == (nginx, daemon)
    revision = running.report.revision
    running.agent.hear(found)
    running.settle()
    assert running.report.revision == revision


def test_a_new_epoch_clears_the_old_instance_first(running: Node) -> None:
    running.agent.exchange(
        exchange(assignment(placement(epoch=2, image=image("b"), digest="e" * 64), generation=2))
    )
    done = names(running.settle())
    assert done == ["remove", "prepare", "create", "start"]
    assert [item.epoch for item in running.engine.running(WEB)] == [2]


def test_a_new_agent_keeps_what_runs(running: Node) -> None:
    mutations, said = running.mutations, running.machine()
    running.boot()
    assert running.report.boot == "boot2"
    assert names(running.settle()) == []
    assert running.mutations == mutations
    assert (running.machine().phase, running.machine().instance) == (said.phase, said.instance)
    assert running.report.generation == 1


def test_a_new_agent_says_nothing_before_it_has_looked(running: Node) -> None:
    running.boot()
    running.tick()
    assert running.report.machines == ()
    assert [(item.ok, item.detail) for item in running.report.drivers] == [
        (False, "not looked at yet")
    ]


def test_an_image_that_nobody_needs_is_kept_until_its_room_is_needed(running: Node) -> None:
    running.told(assignment(generation=2, leaving=[("web", 1)]))
    assert names(running.later(1e6)) == []
    running.agent.exchange(exchange(assignment(placement(epoch=2), generation=3)))
    assert names(running.settle()) == ["create", "start"]


def test_machines_of_both_engines(tmp_path: Path) -> None:
    node = Node(tmp_path, DOCKER, LIBVIRT)
    node.told(assignment(placement(), placement("vm", type=LIBVIRT)))
    assert {str(item.phase) for item in node.report.machines} == {"running"}
    assert [item.type for item in node.report.drivers] == list(MachineType)


def test_a_vm_runs_when_its_ports_are_published(tmp_path: Path) -> None:
    node = Node(tmp_path, LIBVIRT)
    node.ports.error = "no nftables here"
    node.told(assignment(placement("vm", type=LIBVIRT, ports=(port("2222:22"),))))
    found = node.machine("vm")
    assert (found.phase, found.reason) == (
        Phase.STARTING,
        "its ports are not published: no nftables here",
    )
    node.ports.error = ""
    node.later(1)
    assert node.machine("vm").phase is Phase.RUNNING
    assert {item.node: to.port for item, to in node.ports.published.items()} == {2222: 22}
    node.told(assignment(generation=2, leaving=[("vm", 1)]))
    assert node.ports.published == {}


def test_another_cluster_or_name_only_once_it_is_vacant(running: Node) -> None:
    theirs = assignment(generation=1, cluster=OTHER, node=Name("n9"))
    with pytest.raises(Refusal):
        running.agent.exchange(exchange(theirs))
    running.told(assignment(generation=2, leaving=[("web", 1)]))
    with pytest.raises(Refusal, match="and hears from it"):
        running.agent.exchange(exchange(theirs), DESERTED - 1)
    assert running.agent.exchange(exchange(theirs), DESERTED)
    assert running.agent.assignment == theirs
