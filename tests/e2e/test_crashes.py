"""kill -9 of both programs in the middle of things: what was acknowledged happens, and once."""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import Labs
from tests.e2e.documents import Document, image, machine, node
from tests.e2e.engines import Engines
from tests.e2e.lab import Lab
from tests.e2e.ports import until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(150)]

COUNT = 20
ROUNDS = 5
APPLYING, DELETING = 3.0, 2.0
"""Seconds from the first container, and from the answer: after them 20 machines are mostly made, and
mostly gone, on a machine that is not too busy."""
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def lab(labs: Labs, idle: object) -> Lab:
    made = labs("docker")
    made.apply(*base(made, idle))
    return made


def base(lab: Lab, idle: object) -> list[Document]:
    return [node(lab), image("idle", idle)]


def crash(lab: Lab, engines: Engines, dice: random.Random, longest: float) -> tuple[float, str]:
    """Waits a random while, kills both and starts both, in random order; the wait, and how many
    containers there were, and ran, at that moment."""
    pause = dice.uniform(0, longest)
    time.sleep(pause)
    both = [lab.reconciler, lab.agent]
    dice.shuffle(both)
    for daemon in both:
        daemon.kill()
    found = engines.containers(lab)
    running = sum(item["State"]["Running"] for item in found)
    dice.shuffle(both)
    for daemon in both:
        daemon.start()
    return pause, f"{len(found)} made, {running} running"


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_killed_amid_an_apply_and_amid_a_delete(
    lab: Lab, engines: Engines, idle: object, seed: int, record_property: Record
) -> None:
    dice = random.Random(seed)
    names = [f"m{number}" for number in range(COUNT)]
    path = lab.write(*base(lab, idle), *(machine(name, "idle") for name in names))
    with ThreadPoolExecutor(1) as pool:
        # It may be that it never hears of its success, but what has begun is accepted.
        applying = pool.submit(lab.ctl, "apply", "-f", path, code=None)
        until("the first is made", lambda: engines.containers(lab))
        pause, there = crash(lab, engines, dice, APPLYING)
        assert applying.result().code in (0, 7)
    began = time.monotonic()
    until("all run", lambda: all_ready(lab))
    took = time.monotonic() - began
    assert_each_once(lab, engines, names)
    assert "no changes" in lab.ctl("apply", "-f", path, "--wait", "--timeout=30s").out
    told = f"killed {pause:.2f} s into the apply with {there}; all ran {took:.2f} s later"

    lab.ctl("delete", "machine", *names, "--approve")
    pause, there = crash(lab, engines, dice, DELETING)
    began = time.monotonic()
    until("none is left", lambda: not lab.get("machines"))
    took = time.monotonic() - began
    assert engines.containers(lab) == []
    told += f"; {pause:.2f} s into the delete with {there}; none {took:.2f} s later"
    print(told)
    record_property("round", told)


def all_ready(lab: Lab) -> bool:
    shown = lab.get("machines")
    return len(shown) == COUNT and all(item["ready"] for item in shown)


def assert_each_once(lab: Lab, engines: Engines, names: list[str]) -> None:
    found = engines.containers(lab)
    labels = [item["Config"]["Labels"] for item in found]
    assert Counter(label["iaas.name"] for label in labels) == Counter(names)
    assert len({label["iaas.uid"] for label in labels}) == COUNT
    assert all(item["State"]["Running"] for item in found)
    assert [item["RestartCount"] for item in found] == [0] * COUNT
