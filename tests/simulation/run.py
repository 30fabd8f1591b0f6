"""One seed from its start to its end."""

from __future__ import annotations

import random
import traceback
from bisect import bisect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate

from tests.simulation import ending, logs
from tests.simulation.events import EVENTS, Event, hand_in
from tests.simulation.oracle import Violation
from tests.simulation.world import World

SHORTEST, LONGEST = 120, 320


@dataclass(slots=True)
class Result:
    seed: int
    events: int
    log: list[str]
    violation: str = ""
    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    """Of virtual time."""


def simulate(seed: int, tell: Callable[[str], None] | None = None) -> Result:
    logs.watch()
    logs.trouble()
    world = World(seed, tell)
    violation = ""
    try:
        happen(world)
        ending.end(world)
        world.check()
    except Violation as error:
        violation = str(error)
    except Exception as error:
        trace = "".join(traceback.format_exception(error)[-4:])
        violation = f"unexpected {type(error).__name__}: {error}\n{trace}"
    finally:
        world.close()
    if violation:
        world.say(f"VIOLATION {violation}")
    return Result(seed, world.events, world.log, violation, world.faults.count, world.now)


def happen(world: World) -> None:
    """The set-up, then random events; seldom a while without faults, so that runs get somewhere."""
    on, world.faults.on = world.faults.on, False
    world.new_controller()
    for request in world.users.first():
        world.run(partial(hand_in, request=request))
    world.faults.on = on
    if world.rng.random() < 0.5:
        quiet(world)
    chooser = Chooser(world.rng)
    length = world.rng.randint(SHORTEST, LONGEST)
    for _ in range(20 * length):
        if world.events >= length:
            return
        world.run(chooser.next())
        if world.rng.random() < 0.004:
            quiet(world)


def quiet(world: World) -> None:
    """A round in which everything that can work does."""
    if world.controller is None:
        return
    on, world.faults.on = world.faults.on, False
    world.say("a quiet while")
    controller = world.controller
    for link in list(controller.open):
        controller.cut_short(link)
    for _ in range(2):
        quiet_round(world)
        world.now += 0.5
    world.faults.on = on


def quiet_round(world: World) -> None:
    controller = world.controller
    assert controller is not None
    ending.passes(world, controller)
    for link in sorted(controller.sessions):
        node = world.by_address[link[1]]
        if node.agent is not None:
            ending.exchange(world, controller, link)


class Chooser:
    """Draws the kind of the next event; each seed has likings of its own."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        weights = [weight * rng.choice((0.5, 1, 1, 2)) for _, weight in EVENTS]
        self._events = [event for event, _ in EVENTS]
        self._sums = list(accumulate(weights))

    def next(self) -> Event:
        return self._events[bisect(self._sums, self._rng.random() * self._sums[-1])]
