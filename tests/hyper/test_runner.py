"""The agent's threads: answers come with news, one slow call delays nobody, stopping ends it all."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hyper.agent import DESERTED
from hyper.core.admission import Refusal
from hyper.drivers.simulated import down
from manifests.wire import MachineReport, Phase, Report
from tests.hyper.making import CLUSTER, DOCKER, OTHER, assignment, exchange, image, placement, uid
from tests.hyper.station import LONG, SOON, Station

WEB = uid("web")


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    station = Station(tmp_path)
    yield station
    station.close()


def machine(report: Report, name: str = "web") -> MachineReport | None:
    return next((item for item in report.machines if item.uid == uid(name)), None)


def runs(report: Report, name: str = "web") -> bool:
    found = machine(report, name)
    return found is not None and found.phase is Phase.RUNNING


@pytest.fixture
def up(station: Station) -> Report:
    report = station.runner.exchange(exchange(assignment(placement())))
    return station.until(runs, report)


def test_an_assignment_is_carried_out_and_told_as_it_happens(station: Station) -> None:
    begun = time.monotonic()
    station.until(runs, station.runner.exchange(exchange(assignment(placement()), wait=LONG)))
    assert len(station.engine.running(WEB)) == 1
    assert time.monotonic() - begun < SOON


def test_every_piece_of_news_is_told(station: Station) -> None:
    """None is left to the end of the wait, in whatever order threads wake up."""
    report, names = None, [f"m{number}" for number in range(20)]
    for count, name in enumerate(names, 1):
        told = assignment(*(placement(it) for it in names[:count]), generation=count)
        report = station.runner.exchange(exchange(told, wait=LONG))
        report = station.until(lambda it, name=name: runs(it, name), report)  # type: ignore[misc]


def test_news_that_leads_to_no_step_is_told_too(station: Station, up: Report) -> None:
    report = up
    for _ in range(20):
        station.engine.fault = down
        station.runner.notify(DOCKER, None)
        report = station.until(lambda it: not it.drivers[0].ok, report)
        station.engine.fault = None
        station.runner.notify(DOCKER, None)
        report = station.until(lambda it: it.drivers[0].ok, report)


def test_the_first_answer_is_of_the_assignment_that_was_brought(station: Station) -> None:
    told = exchange(assignment(placement(), generation=7), wait=LONG)
    assert station.runner.exchange(told).generation == 7


def test_without_news_the_answer_comes_in_time(station: Station, up: Report) -> None:
    begun = time.monotonic()
    assert station.ask(up, wait=0.2) is up
    assert 0.2 <= time.monotonic() - begun < SOON


def test_what_happens_on_the_node_answers_a_waiting_question(station: Station, up: Report) -> None:
    waiting = station.asking(up)
    station.engine.kill(WEB)
    assert waiting.result(SOON).revision > up.revision
    repaired = station.until(lambda it: (machine(it) or up.machines[0]).restarts == 1, up)
    assert runs(repaired) or station.until(runs, repaired)


def test_a_newer_question_answers_the_older_at_once(station: Station, up: Report) -> None:
    """The controller has given up on it, and must not find it in its way."""
    older = station.asking(up)
    begun = time.monotonic()
    while not older.done():
        station.ask(up, wait=0.01)
        assert time.monotonic() - begun < SOON
    assert older.result().revision == up.revision


def test_a_new_boot_is_told_all_at_once(station: Station, up: Report) -> None:
    told = station.runner.exchange(exchange(boot="before", revision=up.revision, wait=LONG))
    assert told is up


def test_who_must_not_speak_is_refused_and_changes_nothing(station: Station, up: Report) -> None:
    with pytest.raises(Refusal):
        station.runner.exchange(exchange(assignment(generation=9, cluster=OTHER)))
    assert station.ask(up, wait=0) is up


def test_one_call_that_hangs_delays_no_other_machine(station: Station) -> None:
    hang, free = threading.Lock(), threading.Event()

    def fault(operation: str) -> None:
        if operation == "create" and hang.acquire(blocking=False):
            assert free.wait(SOON)

    station.engine.fault = fault
    names = ["a", "b", "c", "d", "e", "f"]
    told = assignment(*(placement(name) for name in names))
    report = station.runner.exchange(exchange(told, wait=LONG))
    five = station.until(lambda it: sum(runs(it, name) for name in names) == 5, report)
    free.set()
    station.until(lambda it: all(runs(it, name) for name in names), five)


def test_stopping_ends_the_waiting_and_leaves_the_machines(station: Station, up: Report) -> None:
    waiting = station.asking(up)
    station.runner.stop()
    station.running.result(SOON)
    assert waiting.result(SOON).revision >= up.revision
    assert len(station.engine.running(WEB)) == 1
    assert not station.runner.restart


def test_stopping_waits_for_the_step_under_way(station: Station, up: Report) -> None:
    begun, free = threading.Event(), threading.Event()

    def fault(operation: str) -> None:
        if operation == "remove":
            begun.set()
            assert free.wait(SOON)

    station.engine.fault = fault
    station.runner.exchange(exchange(assignment(generation=2, leaving=[("web", 1)])))
    assert begun.wait(SOON)
    station.runner.stop()
    assert not station.running.done()
    free.set()
    station.running.result(SOON)
    assert station.engine.of(WEB) == []


def test_another_cluster_means_a_new_start(station: Station, up: Report) -> None:
    report = station.runner.exchange(
        exchange(assignment(generation=2, leaving=[("web", 1)]), wait=LONG)
    )
    station.until(lambda it: machine(it) is None, report)
    heard = station.runner._agent._heard
    assert heard is not None
    station.runner._agent._heard = heard - DESERTED  # as if its controller had been silent so long
    station.runner.exchange(exchange(assignment(cluster=OTHER)))
    station.running.result(SOON)
    assert station.runner.restart
    assert station.driver.cluster == CLUSTER
    assert station.ledger.entry.assignment is not None
    assert station.ledger.entry.assignment.cluster == OTHER


def test_the_progress_of_a_download_is_news(station: Station, up: Report, tmp_path: Path) -> None:
    ref = replace(image("b"), size=10)
    (tmp_path / "images" / ref.sha256).write_bytes(bytes(10))
    at_work, go = threading.Event(), threading.Event()

    def fault(operation: str) -> None:
        if operation == "prepare":
            at_work.set()
            assert go.wait(LONG)

    def said(report: Report) -> tuple[str, int] | None:
        return next(((it.phase, it.done) for it in report.images if it.sha256 == ref.sha256), None)

    station.engine.fault = fault
    more = assignment(placement(), placement("b", image=ref), generation=2)
    report = station.runner.exchange(exchange(more))
    assert at_work.wait(SOON)
    for done in (4, 7):
        station.images.tell(ref.sha256, done)
        report = station.until(lambda it, done=done: said(it) == ("fetching", done), report)
    go.set()
    station.until(lambda it: said(it) == ("ready", 10), report)
