"""A control plane whose agents are real, or mad, at the end of real sockets."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from manifests.scalars import Name
from manifests.wire import Assignment, Phase
from reconciler.core.model import NodeState, Seen
from reconciler.fleet import Fleet
from reconciler.fleet.session import POLL
from reconciler.loop import Loop
from tests.reconciler.world import AGENT, World, create, document

AT_ONCE = 1.0
"""Seconds: far less than a poll takes, far more than a change needs on a busy machine."""
SOON = 10.0
assert AT_ONCE < POLL / 2


class Control:
    """A world whose agents are real."""

    def __init__(self, world: World, patience: float = SOON) -> None:
        self.world = world
        self.numbers = itertools.count(1000)
        self.loop = Loop(world.cluster, world.term, lambda: world.now)
        base = Assignment(cluster=world.store.cluster, term=world.term, node=Name(), generation=0)
        self.fleet = Fleet(world.cluster, base, AGENT, patience=patience)

    def node(self, name: str, port: int) -> None:
        self.world.desk.apply([document("Node", name, address=f"127.0.0.1:{port}")])

    def machine(self, name: str, **spec: Any) -> None:
        """Declared and placed; the fleet alone brings it to its node."""
        changes = [create(next(self.numbers), document("Machine", name, image="app", **spec))]
        snapshot = self.world.store.snapshot()
        if snapshot.get("Image", "app") is None:
            image = document("Image", "app", type="docker", sha256="a" * 64)
            changes.append(create(next(self.numbers), image, size=1))
        self.world.store.submit(changes, revision=snapshot.revision)
        self.reconcile()

    def reconcile(self) -> None:
        while self.loop.step():
            pass

    def seen(self, node: str) -> Seen:
        return self.world.cluster.seen.get(node, Seen())

    def state(self, node: str) -> NodeState:
        return self.seen(node).state

    def usable(self, node: str) -> bool:
        """Whether its engine has been looked at."""
        report = self.seen(node).report
        return report is not None and all(driver.ok for driver in report.drivers)

    def phases(self, node: str) -> list[Phase]:
        report = self.seen(node).report
        return [item.phase for item in report.machines] if report else []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.fleet.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def within(seconds: float, good: Callable[[], bool]) -> float:
    """Seconds until it is so."""
    begun = time.monotonic()
    async with asyncio.timeout(seconds):
        while not good():
            await asyncio.sleep(0.001)
    return time.monotonic() - begun


def play(control: Control, scene: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        async with control.running():
            await scene()

    asyncio.run(run())
