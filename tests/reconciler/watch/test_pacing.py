"""When to look: pure, so no test of it sleeps."""

from hypothesis import given
from hypothesis import strategies as st

from reconciler.watch.pacing import (
    CHANGED,
    FIRST_PAUSE,
    LAST_PAUSE,
    LONGEST,
    QUIET,
    RESCAN,
    Again,
    Pace,
    at_once,
)


def settled(now: float = 0.0) -> Pace:
    return at_once(now).begun(now).looked(now, Again.NO, new=True)


def test_the_first_look_is_at_once_and_the_next_after_a_minute() -> None:
    assert at_once(7.0).due == 7.0
    assert settled(7.0).due == 7.0 + RESCAN


def test_news_wait_for_quiet_but_not_for_ever() -> None:
    pace = settled().heard(10.0, 10.0)
    assert pace.due == 10.0 + QUIET
    pace = pace.heard(10.2, 10.2)
    assert pace.due == 10.2 + QUIET
    for tenth in range(3, 40):
        pace = pace.heard(10.0 + tenth / 10, 10.0 + tenth / 10)
    assert pace.due == 10.0 + LONGEST


@given(st.lists(st.floats(0.0, 5.0), min_size=1, max_size=50))
def test_a_look_comes_after_quiet_or_at_the_latest_after_the_longest_wait(
    times: list[float],
) -> None:
    pace = settled()
    for time in sorted(times):
        pace = pace.heard(time, time)
    assert pace.due == min(max(times) + QUIET, min(times) + LONGEST)


def test_what_is_heard_during_a_look_is_looked_for_after_it() -> None:
    pace = settled().heard(10.0, 10.0).begun(10.3).heard(10.4, 10.4)
    assert pace.looked(12.0, Again.NO, new=True).due == 10.4 + QUIET


def test_what_was_heard_before_a_look_is_done_with() -> None:
    pace = settled().heard(10.0, 10.0).begun(10.3).looked(10.4, Again.NO, new=True)
    assert pace.due == 10.3 + RESCAN


def test_pauses_grow_until_the_longest_and_begin_anew_with_another_content() -> None:
    pace, pauses = settled(), []
    for _ in range(9):
        pace = pace.begun(0.0).looked(0.0, Again.LATER, new=False)
        assert pace.retry is not None
        pauses.append(pace.retry)
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LAST_PAUSE
    assert pace.begun(0.0).looked(0.0, Again.LATER, new=True).retry == FIRST_PAUSE


def test_only_a_look_at_the_time_of_a_retry_tries_again() -> None:
    pace = settled().begun(0.0).looked(0.0, Again.LATER, new=True)
    assert not pace.tries(FIRST_PAUSE - 0.1)
    assert pace.tries(FIRST_PAUSE)
    assert not settled().tries(1000.0)
    assert settled().asked(3.0).tries(3.0)


def test_a_change_of_the_cluster_brings_on_what_waits_for_one() -> None:
    waiting = settled().begun(0.0).looked(0.0, Again.WHEN_CHANGED, new=True)
    changed = waiting.cluster_changed(1.0).cluster_changed(1.5)
    assert changed.due == 1.0 + CHANGED
    assert changed.tries(changed.due)
    assert waiting.cluster_changed(FIRST_PAUSE - 0.5).due == FIRST_PAUSE
    for again in (Again.NO, Again.LATER):
        other = settled().begun(0.0).looked(0.0, again, new=True)
        assert other.cluster_changed(1.0) == other


def test_a_look_at_what_is_as_before_does_not_put_off_the_next_try() -> None:
    waiting = settled().begun(0.0).looked(0.0, Again.WHEN_CHANGED, new=True)
    looked = waiting.heard(1.0, 1.0).begun(1.3).looked(1.4, None, new=False)
    assert (looked.retry, looked.again) == (FIRST_PAUSE, Again.WHEN_CHANGED)


def test_a_doubt_is_settled_after_quiet() -> None:
    pace = settled().begun(5.0).looked(5.0, Again.SOON, new=True)
    assert pace.due == 5.0 + QUIET
    assert pace.tries(5.0 + QUIET)
