"""The agent's decision, over the whole product of what can be wanted and what can be found."""

from itertools import product

import pytest

from hyper.core.backoff import History
from hyper.core.converge import TRANSITIONS, Decision, Found, Wanted, bury, decide, found
from hyper.core.model import Instance, Life
from hyper.core.steps import Create, Prepare, Remove, Start, Stop, Update
from manifests.kinds.machine import PowerState, RestartPolicy
from manifests.scalars import Cpus, Memory
from manifests.wire import Phase, Tombstone
from tests.hyper.making import case, image, instance, placement, uid

ENDED = {"life": Life.STOPPED, "ended": "exit code 1"}

EXAMPLES: dict[Found, Instance | None] = {
    Found.ABSENT: None,
    Found.STALE: instance(epoch=1),
    Found.LATER: instance(epoch=3),
    Found.FRESH: instance(epoch=2, life=Life.STOPPED, ran=False),
    Found.RUNNING: instance(epoch=2),
    Found.PAUSED: instance(epoch=2, life=Life.PAUSED),
    Found.ENDED: instance(epoch=2, **ENDED),
    Found.DRIFTED_RUNNING: instance(epoch=2, memory=Memory(128)),
    Found.DRIFTED_ENDED: instance(epoch=2, cpus=Cpus(500), **ENDED),
}

POWER = {Wanted.RUNNING: PowerState.RUNNING, Wanted.STOPPED: PowerState.STOPPED}

EXPECTED: dict[tuple[Wanted, Found], tuple[type | None, Phase]] = {
    (Wanted.RUNNING, Found.ABSENT): (Create, Phase.CREATING),
    (Wanted.RUNNING, Found.STALE): (Remove, Phase.REMOVING),
    (Wanted.RUNNING, Found.LATER): (None, Phase.FAILED),
    (Wanted.RUNNING, Found.FRESH): (Start, Phase.STARTING),
    (Wanted.RUNNING, Found.RUNNING): (None, Phase.RUNNING),
    (Wanted.RUNNING, Found.PAUSED): (None, Phase.FAILED),
    (Wanted.RUNNING, Found.ENDED): (Start, Phase.STARTING),
    (Wanted.RUNNING, Found.DRIFTED_RUNNING): (Update, Phase.RUNNING),
    (Wanted.RUNNING, Found.DRIFTED_ENDED): (Update, Phase.STARTING),
    (Wanted.STOPPED, Found.ABSENT): (None, Phase.STOPPED),
    (Wanted.STOPPED, Found.STALE): (Remove, Phase.REMOVING),
    (Wanted.STOPPED, Found.LATER): (None, Phase.FAILED),
    (Wanted.STOPPED, Found.FRESH): (None, Phase.STOPPED),
    (Wanted.STOPPED, Found.RUNNING): (Stop, Phase.STOPPING),
    (Wanted.STOPPED, Found.PAUSED): (Stop, Phase.STOPPING),
    (Wanted.STOPPED, Found.ENDED): (None, Phase.STOPPED),
    (Wanted.STOPPED, Found.DRIFTED_RUNNING): (Stop, Phase.STOPPING),
    (Wanted.STOPPED, Found.DRIFTED_ENDED): (Update, Phase.STARTING),
}

PAIRS = list(product(Wanted, Found))


def decided(wanted: Wanted, there: Found, **more: object) -> Decision:
    wish = placement(epoch=2, state=POWER[wanted])
    return decide(case(placement=wish, instance=EXAMPLES[there], **more))


def test_every_pair_has_its_row() -> None:
    assert set(TRANSITIONS) == set(PAIRS) == set(EXPECTED)


@pytest.mark.parametrize("there", Found)
def test_what_is_found_is_told_apart(there: Found) -> None:
    for power in PowerState:
        assert found(placement(epoch=2, state=power), EXAMPLES[there]) is there


def test_an_instance_made_of_something_else_is_stale() -> None:
    assert found(placement(), instance(digest="e" * 64)) is Found.STALE
    assert found(placement(), instance(life=Life.PAUSED, digest="e" * 64)) is Found.STALE


@pytest.mark.parametrize(("wanted", "there"), PAIRS)
def test_the_step(wanted: Wanted, there: Found) -> None:
    step, phase = EXPECTED[wanted, there]
    decision = decided(wanted, there)
    assert decision.phase is phase
    if step is None:
        assert decision.step is None
    else:
        assert isinstance(decision.step, step)
        assert isinstance(decision.step, Create) or decision.step.handle == EXAMPLES[there].handle  # type: ignore[union-attr]
        assert decision.reason or isinstance(decision.step, Create)


@pytest.mark.parametrize(("wanted", "there"), PAIRS)
def test_no_step_before_its_time(wanted: Wanted, there: Found) -> None:
    """After a failure nothing is tried before the wait is over, and then it is looked at again."""
    history = History(failures=3, pause=2.5, retry_at=101.0, error="it broke")
    decision = decided(wanted, there, history=history)
    assert decision.step is None
    if EXPECTED[wanted, there][0] is not None:
        assert decision.phase is Phase.FAILED
        assert decision.reason == "it broke; trying again after 2.5 s (failure 3 in a row)"
        assert decision.wake_at == 101.0
    assert decided(wanted, there, history=history, now=101.0) == decided(wanted, there)


@pytest.mark.parametrize(("wanted", "there"), PAIRS)
def test_what_is_as_wanted_is_left_alone(wanted: Wanted, there: Found) -> None:
    """Whatever the step leads to, it needs none then: nothing is done for ever."""
    settled = {
        Wanted.RUNNING: instance(epoch=2),
        Wanted.STOPPED: instance(epoch=2, **ENDED),
    }
    wish = placement(epoch=2, state=POWER[wanted])
    assert decide(case(placement=wish, instance=settled[wanted])).step is None


def test_limits_of_a_running_machine_where_its_engine_cannot() -> None:
    """It is stopped, changed, started: the restart that the plan announced."""
    drifted = decided(Wanted.RUNNING, Found.DRIFTED_RUNNING, live=False)
    assert isinstance(drifted.step, Stop)
    assert drifted.reason == "restart with other limits"
    changed = decided(Wanted.RUNNING, Found.DRIFTED_ENDED, live=False, halted=True)
    assert isinstance(changed.step, Update)
    assert changed.reason == "memory 256Mi -> 256Mi, cpus 0.5 -> 1"
    again = decided(Wanted.RUNNING, Found.ENDED, live=False, halted=True)
    assert isinstance(again.step, Start)


def test_the_image_comes_first() -> None:
    decision = decide(case(image_ready=False))
    assert decision.step == Prepare(type=placement().type, image=image())
    assert (decision.phase, decision.reason) == (Phase.PREPARING, "fetching the image")


def test_an_image_in_trouble_is_not_fetched_before_its_time() -> None:
    trouble = History(failures=2, pause=1.0, retry_at=101.0, error="404")
    decision = decide(case(image_ready=False, image_trouble=trouble))
    assert (decision.step, decision.phase, decision.wake_at) == (None, Phase.FAILED, 101.0)
    assert decision.reason.startswith("404; trying again after 1.0 s")
    assert decide(case(image_ready=False, image_trouble=trouble, now=101.0)).step is not None


@pytest.mark.parametrize("policy", RestartPolicy)
@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("halted", [True, False])
def test_restart_policies(policy: RestartPolicy, clean: bool, halted: bool) -> None:
    ended = instance(clean=clean, **ENDED)
    decision = decide(case(placement=placement(restart=policy), instance=ended, halted=halted))
    again = policy is RestartPolicy.ALWAYS or (policy is RestartPolicy.ON_FAILURE and not clean)
    if halted:
        assert isinstance(decision.step, Start)
        assert not decision.step.restart
    elif again:
        assert isinstance(decision.step, Start)
        assert decision.step.restart
        assert decision.reason == "exit code 1"
    else:
        assert decision.step is None
        assert decision.phase is (Phase.STOPPED if clean else Phase.FAILED)
        assert decision.reason == f"exit code 1; restart policy {policy}"
        assert decision.wake_at is None


def test_a_machine_made_but_never_started_is_started_whatever_its_policy() -> None:
    fresh = instance(life=Life.STOPPED, ran=False)
    decision = decide(case(placement=placement(restart=RestartPolicy.NEVER), instance=fresh))
    assert isinstance(decision.step, Start)
    assert not decision.step.restart


def test_waiting_says_what_happened() -> None:
    later = History(failures=1, pause=1.0, retry_at=101.0)
    gone = decide(case(history=later))
    assert gone.reason.startswith("it was removed from outside; trying again after 1.0 s")
    ended = decide(case(history=later, instance=instance(**ENDED)))
    assert ended.reason.startswith("exit code 1; trying again after 1.0 s")


@pytest.mark.parametrize("life", Life)
def test_a_tombstone_removes_up_to_its_epoch(life: Life) -> None:
    order = Tombstone(uid("web"), 2)
    for epoch in (1, 2):
        decision = bury(order, instance(epoch=epoch, life=life), History(), 100.0)
        assert decision is not None
        assert isinstance(decision.step, Remove)
        assert decision.phase is Phase.REMOVING
    assert bury(order, instance(epoch=3, life=life), History(), 100.0) is None


def test_a_removal_that_failed_is_tried_again_later() -> None:
    order, later = Tombstone(uid("web"), 1), History(failures=2, pause=1.0, retry_at=101.0)
    decision = bury(order, instance(), later, 100.0)
    assert decision is not None
    assert (decision.step, decision.wake_at) == (None, 101.0)
    assert decision.reason.startswith("it could not be removed; ")
