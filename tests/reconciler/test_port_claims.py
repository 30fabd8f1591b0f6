"""One port, many who want it at once: who is told yes has it, all others are told whose it is."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from manifests.scalars import Protocol
from manifests.wire import Listener
from reconciler.core.model import Seen
from reconciler.core.reconcile import reconcile
from reconciler.store import Stale, Store
from reconciler.submit import Conflicts
from tests.reconciler.world import World, image, machine, node
from tests.scenarios.given import sighting

RACERS = 16
WANTED = {"ports": ["8080:80"]}


@pytest.fixture
def filed(tmp_path: Path) -> Iterator[World]:
    """With a store in a real file."""
    store = Store(tmp_path / "state.db")
    world = World(tmp_path, store)
    world.upload()
    world.desk.apply([node("n1"), image()])
    yield world
    store.close()


def seen(**more: object) -> Seen:
    found = sighting("n1", dict(more), [])
    assert found is not None
    return found


@pytest.mark.parametrize("pin", [{"node": "n1"}, {}], ids=["pinned", "unpinned"])
def test_of_sixteen_at_once_exactly_one_gets_the_port(filed: World, pin: dict[str, str]) -> None:
    """While the loop places whoever has won."""
    filed.cluster.see("n1", seen())
    together, done = threading.Barrier(RACERS), threading.Event()

    def loop() -> None:
        while not done.wait(0.001):
            snapshot = filed.cluster.snapshot()
            try:
                filed.store.commit(reconcile(snapshot), revision=snapshot.revision, term=filed.term)
            except Stale:
                continue

    def submit(number: int) -> str:
        together.wait()
        try:
            filed.desk.apply([machine(f"racer{number:02}", **WANTED, **pin)])
        except Conflicts as refused:
            (conflict,) = refused.conflicts
            return conflict.message
        return ""

    with ThreadPoolExecutor(RACERS + 1) as pool:
        placing = pool.submit(loop)
        told = list(pool.map(submit, range(RACERS)))
        done.set()
        placing.result()

    assert told.count("") == 1
    winner = f"machine racer{told.index(''):02}"
    assert all("8080/tcp" in text and winner in text for text in told if text)
    (item,) = filed.store.snapshot().of_kind("Machine")
    assert f"machine {item.name}" == winner


def test_the_answer_is_409_also_to_a_dry_run_and_names_the_owner(filed: World) -> None:
    process = Listener(protocol=Protocol.TCP, port=8080, process="nginx")
    filed.cluster.see("n1", listening(process))
    for query in ("", "?dryRun=true"):
        answer = filed.client().post(
            f"/iaas/apply{query}", json={"documents": [machine("web", **WANTED, node="n1")]}
        )
        assert answer.status_code == 409
        (conflict,) = answer.json()["conflicts"]
        assert conflict["owner"] == "program nginx"
        assert "port 8080/tcp of node 'n1' is taken by program nginx" in conflict["message"]


def test_a_node_shows_who_listens_there(filed: World) -> None:
    process = Listener(protocol=Protocol.UDP, port=53, process="dnsmasq")
    filed.cluster.see("n1", listening(process))
    shown = filed.client().get("/iaas/nodes/n1").json()
    assert shown["listeners"] == [{"protocol": "udp", "port": 53, "process": "dnsmasq"}]
    assert [(it["name"], it["ports"]) for it in shown["foreign"]] == [("blog", ["80/tcp"])]
    assert shown["publisher"] == "nftables"


def listening(process: Listener) -> Seen:
    found = seen(foreign={"blog": ["80/tcp"]})
    assert found.report is not None
    return replace(found, report=replace(found.report, listeners=(process,)))
