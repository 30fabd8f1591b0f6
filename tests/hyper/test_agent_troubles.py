"""The agent when engines are silent, calls fail, and the disk is full."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hyper.agent import Agent
from hyper.core.looking import AGAIN as LOOK_AGAIN
from hyper.core.model import Host, Traits
from hyper.core.steps import Prepare, Step, Stop
from hyper.drivers import DriverError, EngineDown
from hyper.drivers.simulated import down
from hyper.ledger import Entry, LedgerError, MemoryLedger
from manifests.kinds.machine import PowerState, RestartPolicy
from manifests.scalars import Cpus, Memory
from manifests.wire import Phase
from tests.hyper.making import DOCKER, LIBVIRT, assignment, exchange, placement, uid
from tests.hyper.rig import Node, names

WEB = uid("web")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
def running(node: Node) -> Node:
    return node.told(assignment(placement()))


def fail(
    *operations: str, error: type[DriverError] = DriverError
) -> Callable[[str], Exception | None]:
    """A fault of the engine: each of these calls fails, once."""
    left = list(operations)

    def fault(operation: str) -> Exception | None:
        if operation in left:
            left.remove(operation)
            return error(f"{operation} went wrong")
        return None

    return fault


def test_of_a_silent_engine_nothing_is_said_and_nothing_is_done(running: Node) -> None:
    running.engine.fault = down
    running.agent.notify(DOCKER, None)
    running.settle()
    mutations = running.mutations
    assert [(item.ok, item.detail) for item in running.report.drivers] == [
        (False, "the simulated engine does not answer")
    ]
    assert running.report.machines == ()
    running.told(assignment(generation=2, leaving=[("web", 1)]))
    assert names(running.later(3600)) == []
    assert running.mutations == mutations


def test_a_silent_engine_is_looked_at_again_now_and_then(running: Node) -> None:
    running.engine.fault = down
    running.agent.notify(DOCKER, None)
    running.settle()
    assert running.later(LOOK_AGAIN - 1) == []
    assert len(running.later(1)) == 1
    running.engine.fault = None
    running.later(LOOK_AGAIN)
    assert running.machine().phase is Phase.RUNNING


def test_an_engine_that_falls_silent_amid_a_step(node: Node) -> None:
    node.engine.fault = fail("create done", error=EngineDown)
    node.told(assignment(placement()))
    assert not node.report.drivers[0].ok
    node.later(LOOK_AGAIN)
    assert len(node.engine.running(WEB)) == 1
    assert node.machine().phase is Phase.RUNNING


def test_one_silent_engine_does_not_stop_the_other(tmp_path: Path) -> None:
    node = Node(tmp_path, DOCKER, LIBVIRT)
    node.engines[LIBVIRT].fault = down
    node.told(assignment(placement(), placement("vm", type=LIBVIRT)))
    assert [item.uid for item in node.report.machines] == [WEB]
    assert node.machine().phase is Phase.RUNNING


@pytest.mark.parametrize(
    "operation", ["prepare", "create", "create done", "start", "start done", "inspect"]
)
def test_a_call_that_fails_is_made_again(node: Node, operation: str) -> None:
    node.engine.fault = fail(operation)
    node.told(assignment(placement()))
    node.later(1)
    node.later(LOOK_AGAIN)
    assert node.machine().phase is Phase.RUNNING
    assert len(node.engine.of(WEB)) == 1


def test_a_failure_is_told_with_when_it_is_tried_again(node: Node) -> None:
    node.engine.fault = fail("create")
    node.told(assignment(placement()))
    assert node.machine().phase is Phase.FAILED
    assert node.machine().reason.startswith("create went wrong; trying again after ")


def test_a_removal_that_fails_is_made_again_and_told_until_it_is_done(running: Node) -> None:
    running.engine.fault = fail("remove")
    running.told(assignment(generation=2, leaving=[("web", 1)]))
    assert running.machine().phase is Phase.FAILED
    assert running.machine().reason.startswith("remove went wrong; trying again after ")
    running.later(1)
    assert running.report.machines == ()


def test_an_image_that_cannot_be_prepared(node: Node) -> None:
    node.engine.fault = fail(*["prepare"] * 3)
    node.told(assignment(placement(), placement("db")))
    for name in ("web", "db"):  # one fetch serves both
        assert node.machine(name).reason.startswith("prepare went wrong; trying again after ")
    prepared = [step for _ in range(8) for step in node.later(2) if isinstance(step, Prepare)]
    assert len(prepared) == 3
    assert {item.phase for item in node.report.machines} == {Phase.RUNNING}


def test_a_look_that_fails_is_made_again(running: Node) -> None:
    """An event is told only once: a crash must not be overlooked because the look at it failed."""
    running.later(1)
    running.engine.fault = fail("inspect")
    running.engine.kill(WEB)
    running.settle()
    running.later(LOOK_AGAIN)
    assert running.machine().restarts == 1
    assert len(running.engine.running(WEB)) == 1


def test_a_machine_that_ends_as_soon_as_it_starts_is_not_started_without_pause(
    running: Node,
) -> None:
    """It is never seen running, only ended."""

    def crash(operation: str) -> None:
        if operation == "start done":
            running.engine.kill(WEB)

    running.engine.fault = crash
    running.engine.kill(WEB)
    starts = [name for _ in range(60) for name in names(running.later(1))]
    assert 5 <= starts.count("start") <= 9
    assert running.machine().phase is Phase.FAILED
    assert "in a row" in running.machine().reason


class FullDisk(MemoryLedger):
    """A ledger that at times cannot be written."""

    full = False

    def save(self, entry: Entry) -> None:
        if self.full:
            raise LedgerError("cannot write ledger.json: No space left on device")
        super().save(entry)


@pytest.fixture
def disk() -> FullDisk:
    return FullDisk()


@pytest.fixture
def two(tmp_path: Path, disk: FullDisk) -> Node:
    """The VM a is to be restarted, and needs the ledger for it; the VM b knows nothing of it."""
    node = Node(tmp_path, LIBVIRT, ledger=disk)
    node.told(assignment(placement("a", type=LIBVIRT), placement("b", type=LIBVIRT)))
    bigger = placement("a", type=LIBVIRT, memory=Memory(512))
    node.agent.exchange(exchange(assignment(bigger, placement("b", type=LIBVIRT), generation=2)))
    disk.full = True
    return node


def test_what_is_not_on_disk_is_not_done(two: Node) -> None:
    assert not any(isinstance(step, Stop) for step in two.later(10))
    assert len(two.engine.running(uid("a"))) == 1


def test_a_full_disk_stops_no_other_machine_from_being_kept_up(two: Node) -> None:
    two.engine.kill(uid("b"))
    steps: list[Step] = two.later(10)
    assert "start" in names(steps)
    assert two.machine("b").phase is Phase.RUNNING
    assert "No space left on device" in two.machine("a").reason


def test_when_there_is_space_again_it_goes_on(two: Node, disk: FullDisk) -> None:
    two.later(10)
    disk.full = False
    two.later(10)
    assert two.engine.running(uid("a"))[0].memory == 512


def test_a_full_disk_refuses_new_assignments_and_keeps_the_old(running: Node) -> None:
    disk = FullDisk()
    disk.entry, disk.full = running.ledger.entry, True
    running.ledger = disk
    running.boot()
    with pytest.raises(LedgerError):
        running.agent.exchange(exchange(assignment(generation=2)))
    running.settle()
    assert running.machine().phase is Phase.RUNNING
    assert running.report.generation == 1


def test_policy_never_and_a_full_disk(running: Node) -> None:
    """That the user ordered the stop came with the assignment: a disk that is full by now does not
    keep the machine running."""
    disk = FullDisk()
    disk.entry = running.ledger.entry
    running.ledger = disk
    running.boot()
    stopped = placement(state=PowerState.STOPPED, restart=RestartPolicy.NEVER)
    running.agent.exchange(exchange(assignment(stopped, generation=2)))
    disk.full = True
    running.settle()
    assert running.machine().phase is Phase.STOPPED
    running.later(10)
    assert running.machine().phase is Phase.STOPPED


def test_an_engine_without_its_sdk_is_told_and_its_machines_are_not() -> None:
    agent = Agent(
        ledger=MemoryLedger(),
        engines={
            DOCKER: Traits(live=True, native_ports=True, missing="install python3-docker"),
        },
        host=Host(boot="b", cpus=Cpus(1000), memory=Memory(1024), version="1"),
    )
    agent.exchange(exchange(assignment(placement())))
    steps, _ = agent.tick(1.0, 1.0)
    assert steps == []
    assert agent.report.machines == ()
    assert [(item.ok, item.detail) for item in agent.report.drivers] == [
        (False, "install python3-docker")
    ]


def test_a_bug_in_a_look_is_no_hot_loop(node: Node) -> None:
    def broken(operation: str) -> Exception | None:
        return ZeroDivisionError(operation) if operation == "observe" else None

    node.engine.fault = broken
    node.told(assignment(placement()))
    assert not node.report.drivers[0].ok
    assert [len(node.later(1)) for _ in range(5)] == [0, 0, 0, 0, 1]
    node.engine.fault = None
    node.later(LOOK_AGAIN)
    assert node.machine().phase is Phase.RUNNING
