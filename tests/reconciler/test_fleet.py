"""The fleet over real sockets, with real agents on simulated engines."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyper.core.model import Life
from manifests.wire import Phase
from reconciler.core.model import NodeState
from tests.hyper.station import Station
from tests.reconciler.control import AT_ONCE, SOON, Control, play, within
from tests.reconciler.world import AGENT, World


@pytest.fixture
def control(world: World) -> Control:
    return Control(world)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Station]:
    station = Station(tmp_path / "agent")
    station.port = station.serve(AGENT)
    yield station
    station.close()


def test_a_change_is_on_the_node_and_back_at_once(control: Control, agent: Station) -> None:
    """Both ways, while a question is waiting at the agent: nobody waits for the poll."""
    control.node("n1", agent.port)

    def running() -> int:
        return sum(
            it.life is Life.RUNNING
            for known in agent.engine.instances.values()
            for it in known.values()
        )

    async def add(name: str, count: int) -> None:
        control.machine(name)
        await within(AT_ONCE, lambda: running() == count)
        await within(AT_ONCE, lambda: control.phases("n1") == [Phase.RUNNING] * count)

    async def scene() -> None:
        await within(SOON, lambda: control.usable("n1"))
        for count, name in enumerate(("a", "b", "c"), 1):
            await add(name, count)

    play(control, scene)


def test_what_happens_on_the_node_is_seen_at_once(control: Control, agent: Station) -> None:
    control.node("n1", agent.port)

    async def scene() -> None:
        await within(SOON, lambda: control.usable("n1"))
        control.machine("web", restart={"policy": "never"})
        await within(SOON, lambda: control.phases("n1") == [Phase.RUNNING])
        agent.engine.reboot()
        await within(AT_ONCE, lambda: control.phases("n1") == [Phase.FAILED])

    play(control, scene)


def test_an_agent_that_starts_anew_is_met_again_and_changes_nothing(
    control: Control, agent: Station, tmp_path: Path
) -> None:
    control.node("n1", agent.port)

    async def scene() -> None:
        await within(SOON, lambda: control.usable("n1"))
        control.machine("web")
        await within(SOON, lambda: control.phases("n1") == [Phase.RUNNING])
        await asyncio.to_thread(agent.close)
        mutations = agent.engine.mutations
        control.machine("db")
        second = Station(
            tmp_path / "agent", engine=agent.engine, ledger=agent.ledger, boot="second"
        )
        try:
            await asyncio.to_thread(second.serve, AGENT, agent.port)
            await within(SOON, lambda: control.phases("n1") == [Phase.RUNNING] * 2)
            report = control.seen("n1").report
            assert report is not None
            assert report.boot == "second"
            assert agent.engine.mutations == mutations + 2  # create and start the new one
            assert control.state("n1") is NodeState.READY
        finally:
            await asyncio.to_thread(second.close)

    play(control, scene)


def test_a_node_that_is_gone_is_asked_no_more(control: Control, agent: Station) -> None:
    control.node("n1", agent.port)

    async def scene() -> None:
        await within(SOON, lambda: control.state("n1") is NodeState.READY)
        control.world.desk.delete([("Node", "n1")])
        control.reconcile()
        await within(AT_ONCE, lambda: "n1" not in control.world.cluster.seen)

    play(control, scene)


def test_when_it_is_cancelled_nothing_is_left_running(control: Control, agent: Station) -> None:
    control.node("n1", agent.port)

    async def scene() -> None:
        async with control.running():
            await within(SOON, lambda: control.state("n1") is NodeState.READY)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scene())
