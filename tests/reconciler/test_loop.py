"""The reconcile loop on the real store: pass by pass, and as a task that is woken."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from manifests.kinds.image import MachineType
from manifests.scalars import Cpus, Memory, Name
from manifests.wire import DriverReport, MachineReport, Phase, Report
from reconciler.core.model import NodeState, Seen, Stage
from reconciler.loop import Loop, UnsafePlan
from reconciler.store import Deposed
from tests.reconciler.world import World, image, machine, node, placing, plan


class Cluster:
    """A world with a loop, and nodes that obey at once."""

    def __init__(self, world: World, *nodes: str) -> None:
        self.world = world
        self.loop = Loop(world.cluster, world.term, lambda: world.now)
        world.upload()
        self.apply(image(), *(node(name) for name in nodes))
        for name in nodes:
            self.hear(name)

    def apply(self, *documents: dict[str, Any]) -> None:
        self.world.desk.apply(documents)

    def hear(self, name: str, *late: MachineReport) -> None:
        """The node's report: it runs what it shall run, and has removed what it shall remove."""
        snapshot = self.world.cluster.snapshot()
        here = [placed for placed in snapshot.placements if placed.node == name]
        report = Report(
            node=Name(name),
            boot="b",
            revision=snapshot.revision,
            generation=snapshot.generations.get(name, 0),
            cpus=Cpus(16000),
            memory=Memory(4096),
            drivers=(DriverReport(type=MachineType.LIBVIRT, ok=True),),
            machines=(
                *(
                    MachineReport(uid=placed.uid, epoch=placed.epoch, phase=Phase.RUNNING)
                    for placed in here
                    if placed.stage is Stage.ACTIVE
                ),
                *late,
            ),
        )
        self.world.cluster.see(name, Seen(NodeState.READY, report))

    def settle(self, *nodes: str) -> int:
        """Passes that changed something until there is nothing to do, with reports between them."""
        count = 0
        while self.loop.step():
            count += 1
            for name in nodes:
                self.hear(name)
            assert count < 50
        return count

    def placed(self) -> dict[str, tuple[str, int]]:
        """Where machines are, and in which epoch."""
        placements = self.world.store.snapshot().placements
        return {str(item.wire.name): (str(item.node), item.epoch) for item in placements}


@pytest.fixture
def one(world: World) -> Cluster:
    return Cluster(world, "node1")


def test_a_pass_writes_what_it_decides_with_its_events(one: Cluster) -> None:
    one.apply(machine("web"))
    assert one.loop.step()
    assert one.placed() == {"web": ("node1", 1)}
    assert one.world.store.events()[-1].event.reason == "Placed"


def test_a_pass_with_nothing_to_do_writes_nothing(one: Cluster) -> None:
    one.apply(machine("web"))
    one.settle("node1")
    writes, version = one.world.store.writes, one.world.cluster.signal.version
    for _ in range(10):
        assert not one.loop.step()
    assert one.world.store.writes == writes
    assert one.world.cluster.signal.version == version


def test_what_cannot_be_done_is_explained_and_tried_when_it_can(one: Cluster) -> None:
    one.apply(machine("web", memory="100Gi"))
    assert not one.loop.step()
    waits = one.world.cluster.snapshot().waits
    assert waits["Machine", "web"].startswith("no node fits: node1: needs 100Gi of memory")
    one.apply(machine("web", memory="1Gi"))
    one.settle("node1")
    assert one.world.cluster.snapshot().waits == {}


def test_a_machine_is_replaced_to_the_end(world: World) -> None:
    cluster = Cluster(world, "node1", "node2")
    cluster.apply(machine("web"))
    cluster.settle("node1", "node2")
    cluster.apply(machine("web", node="node2"))
    assert cluster.settle("node1", "node2") == 2  # retire; then release and place
    assert cluster.placed() == {"web": ("node2", 2)}


def test_a_machine_is_deleted_to_the_end(one: Cluster) -> None:
    one.apply(machine("web"))
    one.settle("node1")
    one.world.desk.delete([("Machine", "web"), ("Image", "disk"), ("Node", "node1")])
    one.settle("node1")
    assert one.world.store.snapshot().objects == {}
    assert one.placed() == {}


def test_a_late_instance_is_removed_and_its_machine_undisturbed(world: World) -> None:
    cluster = Cluster(world, "node1", "node2")
    cluster.apply(machine("web", node="node1"))
    cluster.settle("node1", "node2")
    cluster.apply(machine("web", node="node2"))
    cluster.settle("node1", "node2")
    (placed,) = world.store.snapshot().placements
    late = MachineReport(uid=placed.uid, epoch=1, phase=Phase.RUNNING)
    cluster.hear("node1", late)
    assert cluster.loop.step()
    cluster.hear("node1", replace(late, phase=Phase.REMOVING))
    assert not cluster.loop.step()
    assert len(world.store.snapshot().placements) == 2
    assert cluster.settle("node1", "node2") == 0
    cluster.hear("node1")
    cluster.settle("node1", "node2")
    assert cluster.placed() == {"web": ("node2", 2)}


def test_somebody_quicker_means_another_look(one: Cluster, world: World) -> None:
    """Between the snapshot and the commit the user changes something: nothing is lost."""
    one.apply(machine("web"))
    step = world.store.commit

    def interrupted(*args: Any, **more: Any) -> int:
        world.store.commit = step  # type: ignore[method-assign]
        one.apply(machine("db"))
        return step(*args, **more)

    world.store.commit = interrupted  # type: ignore[method-assign]
    assert one.loop.step()
    assert one.placed() == {}
    assert one.loop.step()
    assert one.placed() == {"db": ("node1", 1), "web": ("node1", 1)}


def test_a_deposed_controller_writes_nothing(one: Cluster) -> None:
    one.apply(machine("web"))
    one.world.store.take_term()
    with pytest.raises(Deposed):
        one.loop.step()
    assert one.placed() == {}


def test_a_plan_that_breaks_an_invariant_is_refused_whole(
    one: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no seam for a wrong planner, and shall be none."""
    one.apply(machine("web"))
    item = one.world.store.snapshot().objects["Machine", "web"]
    twice = plan(placing(item, 1), placing(item, 2))
    monkeypatch.setattr("reconciler.loop.reconcile", lambda _: twice)
    with pytest.raises(UnsafePlan, match="web would be placed twice"):
        one.loop.step()
    assert one.placed() == {}


def test_every_operation_is_told(one: Cluster) -> None:
    one.apply(machine("web"))
    one.settle("node1")
    one.apply(machine("web", memory="1Gi"))
    one.settle("node1")
    one.world.desk.delete([("Machine", "web")])
    one.settle("node1")
    told = [item.event.reason for item in one.world.store.events(kind="Machine", name="web")]
    assert told == [
        "Created",
        "Placed",
        "Running",
        "Changed",
        "Updated",
        "DeletionRequested",
        "Retired",
        "Released",
        "Deleted",
    ]


async def eventually(good: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not good():
            await asyncio.sleep(0.001)


def running(one: Cluster, scenario: Callable[["asyncio.Task[None]"], Any]) -> None:
    """The scenario beside the loop's task, which is cancelled in the end."""

    async def both() -> None:
        task = asyncio.create_task(one.loop.run())
        try:
            await scenario(task)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(both())


def test_the_loop_is_woken_by_a_submission_in_another_thread(one: Cluster) -> None:
    async def scenario(task: "asyncio.Task[None]") -> None:
        await asyncio.sleep(0)
        await asyncio.to_thread(one.apply, machine("web"))
        await eventually(lambda: "web" in one.placed())

    running(one, scenario)


def test_what_changed_before_it_began_is_seen(one: Cluster) -> None:
    one.apply(machine("web"))

    async def scenario(task: "asyncio.Task[None]") -> None:
        await eventually(lambda: "web" in one.placed())

    running(one, scenario)


def test_a_pass_that_fails_is_tried_again(one: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([RuntimeError("a bug")])
    step = one.loop.step

    def faulty() -> bool:
        if (error := next(failures, None)) is not None:
            raise error
        return step()

    monkeypatch.setattr(one.loop, "step", faulty)
    one.apply(machine("web"))

    async def scenario(task: "asyncio.Task[None]") -> None:
        await eventually(lambda: "web" in one.placed())

    running(one, scenario)


def test_a_deposed_controller_gives_up(one: Cluster) -> None:
    one.apply(machine("web"))
    one.world.store.take_term()

    async def scenario(task: "asyncio.Task[None]") -> None:
        async with asyncio.timeout(10):
            with pytest.raises(Deposed):
                await asyncio.shield(task)

    running(one, scenario)
