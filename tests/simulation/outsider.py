"""What happens on the hosts without the product: machines end, vanish, are paused; strangers come."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from hyper.core.model import Life
from manifests.kinds.image import FORMATS, MachineType
from manifests.scalars import Cpus, Memory, Name, Sha256, Uid
from manifests.wire import ImageRef, Placement
from tests.simulation.faults import Faults
from tests.simulation.truth import TruthEngine

if TYPE_CHECKING:
    from tests.simulation.node import SimNode

STRANGER = "eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee"


class Outsider:
    def __init__(self, rng: random.Random, faults: Faults) -> None:
        self.rng = rng
        self.faults = faults
        self.strangers = 0

    def act(self, nodes: list[SimNode]) -> str:
        # Where a look is under way, a change is most likely to be missed.
        watched = [node for node in nodes if node.slow]
        node = self.rng.choice(watched if watched and self.rng.random() < 0.7 else nodes)
        engine = node.engines[self.rng.choice(list(MachineType))]
        if self.rng.random() < 0.1:
            return self._stranger(node, engine)
        instances = engine.ours()
        if not instances:
            return ""
        it = self.rng.choice(instances)
        what = self.rng.choice(("kill", "kill", "finish", "finish", "vanish", "pause"))
        with engine.from_outside():
            getattr(engine, what)(it.uid)
        self.faults.did(what)
        return f"{node.host}: {what} {it.name}"

    def during(self, node: SimNode, engine: TruthEngine) -> None:
        """A machine ends while the agent is in the middle of a call."""
        running = [it for it in engine.ours() if it.life is Life.RUNNING]
        if running:
            it = self.rng.choice(running)
            node.world.say(f"{node.host}: meanwhile {it.name} ends")
            with engine.from_outside():
                (engine.kill if self.rng.random() < 0.5 else engine.finish)(it.uid)

    def _stranger(self, node: SimNode, engine: TruthEngine) -> str:
        self.strangers += 1
        name = f"stranger-{self.strangers}"
        self.faults.did("stranger")
        node.gaps.add(engine.type)  # events tell of our own machines only
        if self.rng.random() < 0.5:
            with engine.from_outside():
                engine.add_foreign(name)
        else:
            engine.stranger(name, _theirs(engine.type, self.strangers))
        return f"{node.host}: {name} appears"


def _theirs(type_: MachineType, number: int) -> Placement:
    return Placement(
        uid=Uid(f"{STRANGER[:-4]}{number:04d}"),
        epoch=1,
        name=Name("theirs"),
        type=type_,
        image=ImageRef(sha256=Sha256("0" * 64), format=FORMATS[type_][0], size=1),
        memory=Memory(64),
        cpus=Cpus(1000),
        digest="theirs",
    )
