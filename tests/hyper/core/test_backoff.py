"""When what failed is tried again: at once, then later and later, never all together."""

import pytest

from hyper.core.backoff import (
    FRESH,
    LONGEST,
    STABLE,
    History,
    delay,
    failed,
    seen,
    started,
)
from tests.hyper.making import uid

WEB = uid("web")


def look(history: History, now: float, *, running: bool, halted: bool = False) -> History:
    return seen(history, running=running, halted=halted, uid=WEB, now=now)


def crash(history: History, now: float, ran: float = 0.0) -> History:
    """It ran for a while and ended, seen at both ends."""
    return look(look(history, now - ran, running=True), now, running=False)


def test_the_first_comes_at_once() -> None:
    assert delay(WEB, 0) == 0


@pytest.mark.parametrize("failures", range(1, 40))
def test_it_doubles_up_to_a_minute_less_up_to_half(failures: int) -> None:
    full = min(LONGEST, 2.0 ** (failures - 1))
    for name in ("a", "b", "c", "d"):
        assert full / 2 < delay(uid(name), failures) <= full


def test_jitter_spreads_machines_and_is_no_chance() -> None:
    waits = {delay(uid(f"machine-{number}"), 4) for number in range(100)}
    assert len(waits) > 80
    assert delay(WEB, 4) == delay(WEB, 4)


def test_a_machine_that_crashes_again_and_again() -> None:
    history, now, pauses = FRESH, 1000.0, []
    for _ in range(12):
        history = crash(history, now, ran=0.5)
        pauses.append(history.pause)
        assert history.retry_at == now + history.pause
        now = history.retry_at + 1
    assert pauses == [delay(WEB, failures) for failures in range(12)]
    assert pauses[0] == 0
    assert history.failures == 12


def test_looking_twice_at_what_ended_changes_nothing() -> None:
    history = crash(FRESH, 1000.0)
    assert look(history, 1005.0, running=False) == history


def test_a_minute_of_running_makes_it_forget() -> None:
    history = crash(crash(crash(FRESH, 1000), 1001), 1002)
    assert history.failures == 3
    running = look(look(history, 1010, running=True), 1010 + STABLE, running=True)
    assert running.failures == 0
    assert crash(history, 1100, ran=STABLE).failures == 1
    assert crash(history, 1100, ran=STABLE).pause == 0
    assert crash(history, 1100, ran=STABLE - 1).failures == 4


def test_what_we_stopped_ourselves_is_no_failure() -> None:
    history = look(look(FRESH, 1000, running=True), 1001, running=False, halted=True)
    assert (history.failures, history.retry_at, history.pause) == (0, 1001, 0)


def test_a_step_that_failed_is_never_repeated_at_once() -> None:
    history = failed(FRESH, error="no space", uid=WEB, now=1000)
    assert history.error == "no space"
    assert history.pause == delay(WEB, 1) >= 0.5
    again = failed(history, error="no space", uid=WEB, now=1002)
    assert again.pause == delay(WEB, 2)
    assert again.retry_at == 1002 + again.pause


def test_an_error_is_over_when_it_runs_or_was_restarted() -> None:
    history = failed(FRESH, error="no space", uid=WEB, now=1000)
    assert look(history, 1001, running=True).error == ""
    assert started(history, restart=True, now=1001).error == ""


def test_only_restarts_are_counted() -> None:
    once = started(FRESH, restart=False, now=1000)
    assert (once.restarts, started(once, restart=True, now=1001).restarts) == (0, 1)


def test_what_ended_before_anybody_saw_it_run_did_run() -> None:
    history, now = FRESH, 1000.0
    for failures in range(5):
        history = look(started(history, restart=True, now=now), now, running=False)
        assert history.pause == delay(WEB, failures)
        now = history.retry_at
