"""The fleet and agents gone mad: nothing is believed, nobody else waits."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manifests.wire import Phase
from reconciler.core.model import NodeState
from tests.hyper.station import Station
from tests.reconciler.control import AT_ONCE, SOON, Control, play, within
from tests.reconciler.mad import Mad, MadServer, Maker, drips, floods, says
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


@pytest.fixture
def mad() -> Iterator[Maker]:
    servers: list[MadServer] = []

    def make(answer: Callable[[Mad], None]) -> MadServer:
        servers.append(MadServer(answer))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


REPORT = {"node": "n1", "boot": "b", "revision": 1, "generation": 0, "cpus": 1, "memory": "1Gi"}

GARBAGE: dict[str, tuple[Callable[[Mad], None], str]] = {
    "no JSON": (says(200, b"<html>"), "answered nonsense"),
    "nothing": (says(200, b""), "answered nonsense"),
    "another shape": (says(200, b"[]"), "answered nonsense: expected an object, got a list"),
    "a field too many": (
        says(200, json.dumps(REPORT | {"extra": 1}).encode()),
        "answered nonsense: extra: unknown field",
    ),
    "no text": (says(200, b"\xff\xfe\xfd"), "answered nonsense"),
    "too deep": (says(200, b"[" * 100_000), "answered nonsense"),
    "a refusal": (says(403, b'{"message": "another cluster"}'), "refuses: another cluster"),
    "a refusal without words": (says(500, b"oops"), "refuses: status 500"),
    "a refusal of another shape": (says(500, b'["message"]'), "refuses: status 500"),
    "a redirect": (says(302, b""), "refuses: status 302"),
    "drops": (drips, "no answer from"),
    "a flood": (floods, "answered more than 64 MiB"),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_what_makes_no_sense_is_told_and_believed_in_nothing(
    world: World, mad: Maker, kind: str
) -> None:
    answer, sentence = GARBAGE[kind]
    control = Control(world, patience=0.3 if kind == "drops" else SOON)
    control.node("n1", mad(answer).server_port)

    async def scene() -> None:
        await within(SOON, lambda: sentence in control.seen("n1").error)
        assert control.seen("n1").report is None
        assert control.state("n1") is NodeState.JOINING

    play(control, scene)


def test_who_fails_is_asked_less_and_less(control: Control, mad: Maker) -> None:
    server = mad(says(500, b""))
    control.node("n1", server.server_port)

    async def scene() -> None:
        await within(SOON, lambda: len(server.asked) == 5)
        pauses = [
            after - before for before, after in zip(server.asked, server.asked[1:], strict=False)
        ]
        assert all(
            pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4, 0.8), strict=True)
        )

    play(control, scene)


def test_a_node_that_never_answers_delays_no_other(
    control: Control, agent: Station, mad: Maker
) -> None:
    free = threading.Event()
    server = mad(lambda _: bool(free.wait(SOON)) and None)
    control.node("dead", server.server_port)
    control.node("refusing", 1)

    async def scene() -> None:
        await within(SOON, lambda: len(server.asked) == 1)
        control.node("n1", agent.port)
        await within(AT_ONCE, lambda: control.usable("n1"))
        control.machine("web")
        await within(AT_ONCE, lambda: control.phases("n1") == [Phase.RUNNING])
        assert control.state("dead") is NodeState.JOINING
        assert "no answer from 127.0.0.1:1: " in control.seen("refusing").error
        free.set()

    play(control, scene)


def test_a_node_at_another_address_is_found_there(
    control: Control, agent: Station, mad: Maker
) -> None:
    control.node("n1", mad(says(500, b"")).server_port)

    async def scene() -> None:
        await within(SOON, lambda: control.seen("n1").error != "")
        control.node("n1", agent.port)
        await within(AT_ONCE, lambda: control.state("n1") is NodeState.READY)

    play(control, scene)
