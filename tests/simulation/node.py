"""One host: engines and kernel that outlive the agent, and the agent, which comes and goes.

What `hyper.runner` does with threads is done here one event at a time, in any order they could.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hyper.agent import Agent
from hyper.core.model import Host, Publication
from hyper.core.steps import Create, Look, Outcome, Remove, Start, Step
from hyper.drivers import DriverError, EngineDown
from hyper.drivers.simulated import Simulated
from hyper.engines import DRIVERS
from hyper.ledger import LedgerError
from hyper.workers import Workers
from manifests.kinds.image import MachineType
from manifests.scalars import Cpus, Memory
from tests.simulation import documents
from tests.simulation.faults import Crashed
from tests.simulation.host import Disk, SimImages, SimLedger, SimPublisher
from tests.simulation.truth import TruthEngine

if TYPE_CHECKING:
    from tests.simulation.world import World

CPUS, MEMORY = Cpus(8000), Memory(1024)
TRAITS = {type_: engine.traits for type_, engine in DRIVERS.items()}
Notice = tuple[MachineType, str | None]


class SimNode:
    def __init__(self, world: World, host: str) -> None:
        rng = world.rng
        self.world = world
        self.host = host
        self.address = f"{host}.lab:7701"
        self.engines = {type_: TruthEngine(type_, host, world.oracle) for type_ in TRAITS}
        for engine in self.engines.values():
            engine.fault = partial(self._fault, engine)
        self.disk = Disk()
        self.cache = documents.LARGEST_SET * rng.choice((1, 2, 10))
        """Bytes that its images may take: all that can be wanted at once find room."""
        self.published: Publication = {}
        self.publications = 0
        self.offset, self.rate = rng.uniform(0, 1e6), rng.uniform(0.98, 1.02)
        self.skew = rng.uniform(-300, 300)
        self.boots = 0
        self.agent: Agent | None = None
        self.down: set[MachineType] = set()
        self.gaps: set[MachineType] = set()
        self.late: list[Step] = []
        self._forget()
        self.start()

    def _forget(self) -> None:
        """What lives in the agent's process only."""
        self.pending: list[Step] = []
        self.done: list[tuple[Step, Outcome]] = []
        self.slow: list[tuple[Step, Outcome]] = []
        """Full looks that saw what they saw, and are long in telling it."""
        self.notices: list[Notice] = []
        self.dirty = True
        self.unsure: set[MachineType] = set()
        """Engines of which a look failed since the last full look."""
        self.wake_at: float | None = None
        self.bound = False

    # -- the life of the agent

    def start(self) -> None:
        self.boots += 1
        self._forget()
        ledger = SimLedger(self)
        boot = f"{self.host}-{self.boots}"
        host = Host(boot=boot, cpus=CPUS, memory=MEMORY, version="0")
        images = SimImages(self)
        self.agent = agent = Agent(ledger=ledger, engines=TRAITS, host=host, stock=images.stock())
        self.drivers = {type_: Simulated(engine) for type_, engine in self.engines.items()}
        self.workers = Workers(
            drivers=self.drivers,
            images=images,  # type: ignore[arg-type]
            publisher=SimPublisher(self),
            assignment=lambda: agent.assignment,
        )

    def crash(self) -> None:
        """The process ends; a call that it made may still be carried out by the engine."""
        for step in self.pending:
            if isinstance(step, Create | Start) and self.world.rng.random() < 0.7:
                self.late.append(step)
        self.agent = None
        for driver in self.drivers.values():
            driver.close()
        self._forget()

    def reboot(self) -> None:
        """The host loses power and comes back."""
        self.crash()
        self.late.clear()
        self.publish({})
        for engine in self.engines.values():
            with engine.from_outside():
                engine.reboot()

    def land(self, step: Step) -> None:
        """A call whose caller is dead has its effect."""
        driver = Simulated(self.engines[step.type])  # type: ignore[union-attr]
        driver.bind(self.world.oracle.cluster)
        on, self.world.faults.on = self.world.faults.on, False
        try:
            if isinstance(step, Create):
                made = driver.create(step.placement, Path("/simulated"))
                self.world.oracle.late.add((self.host, made.handle))
            elif isinstance(step, Start):
                driver.start(step.handle)
        except DriverError:
            pass
        finally:
            self.world.faults.on = on

    # -- one event at a time

    def mono(self) -> float:
        return self.offset + self.world.now * self.rate

    def wall(self) -> float:
        return self.world.wall() + self.skew

    def due(self) -> bool:
        """Whether a tick would do anything."""
        late = self.wake_at is not None and self.wake_at <= self.mono()
        return self.agent is not None and (self.dirty or late)

    def tick(self) -> None:
        agent = self.agent
        if agent is None or not self._ready(agent):
            self.dirty = False
            return
        self.dirty = False
        try:
            steps, self.wake_at = agent.tick(self.mono(), self.wall())
        except LedgerError:
            self.wake_at = self.mono() + 1
            return
        for step in steps:
            if isinstance(step, Remove):
                engine = self.engines[step.type]
                self.world.oracle.asked(engine, step.handle, agent.assignment)
        self.pending += steps

    def _ready(self, agent: Agent) -> bool:
        if agent.assignment is None:
            return False
        if not self.bound:
            self.bound = True
            for type_, driver in self.drivers.items():
                driver.bind(agent.assignment.cluster)
                driver.watch(partial(self._hear, type_))
        return True

    def _hear(self, type_: MachineType, handle: str | None) -> None:
        """The engine tells of a change; its stream may break, which the driver notices later."""
        faults = self.world.faults
        if type_ in self.down or faults.hit("notice lost"):
            self.gaps.add(type_)
            return
        self.notices += [(type_, handle)] * (2 if faults.hit("notice doubled") else 1)

    def repair(self, type_: MachineType) -> None:
        """The driver's stream works again."""
        self.gaps.discard(type_)
        self.notices.append((type_, None))

    def hear(self, index: int) -> None:
        assert self.agent is not None
        self.agent.notify(*self.notices.pop(index))
        self.dirty = True

    def perform(self, index: int) -> str:
        step = self.pending.pop(index)
        try:
            outcome = self.workers.perform(step)
        except Crashed as crash:
            if str(crash) == "before" and isinstance(step, Create | Start):
                self.late.append(step)
            self.crash()
            return f"{shown(step)}: the agent crashed {crash} it"
        full = isinstance(step, Look) and step.handle is None
        slow = full and self.world.faults.hit("slow look")
        (self.slow if slow else self.done).append((step, outcome))
        return f"{shown(step)}: {outcome.error or 'ok'}"

    def finish(self, index: int) -> Step:
        assert self.agent is not None
        step, outcome = self.done.pop(index)
        self.dirty = True
        if isinstance(step, Look) and (outcome.error or (outcome.view and outcome.view.error)):
            self.unsure.add(step.type)
        elif outcome.view is not None:
            self.unsure.discard(step.type)  # type: ignore[union-attr]
        with suppress(LedgerError):  # the runner logs it
            self.agent.finish(step, outcome, self.mono())
        return step

    def publish(self, wanted: Publication) -> None:
        self.world.oracle.published(self.host, self.published, wanted)
        if dict(wanted) != self.published:  # to be asked again whether all is well changes nothing
            self.publications += 1
        self.published = dict(wanted)

    # -- faults

    def _fault(self, engine: TruthEngine, operation: str) -> Exception | None:
        if engine.outside:
            return None
        if engine.type in self.down:
            return EngineDown("the simulated engine does not answer")
        world, after = self.world, operation.endswith(" done")
        faults = world.faults
        if faults.hit("change during call"):
            world.outsider.during(self, engine)
        if operation in ("observe", "inspect"):
            return DriverError("the simulated call failed") if faults.hit("call failed") else None
        if faults.hit("agent crash after call" if after else "agent crash in call"):
            raise Crashed("after" if after else world.rng.choice(("before", "during")))
        if faults.hit("reply lost" if after else "call failed"):
            down = world.rng.random() < 0.3
            return (EngineDown if down else DriverError)(f"the simulated {operation} failed")
        return None

    # -- what the oracle asks

    def mutations(self) -> int:
        return sum(engine.mutations for engine in self.engines.values()) + self.publications

    def settled(self) -> bool:
        """Whether the agent has heard and finished all there is."""
        quiet = not (
            self.pending or self.done or self.slow or self.notices or self.gaps or self.late
        )
        quiet = quiet and not self.unsure
        return self.agent is not None and quiet and not self.due() and not self.down


def shown(step: Step) -> str:
    subject = getattr(step, "uid", None) or getattr(step, "image", None)
    short = str(getattr(subject, "sha256", subject or ""))[:8]
    return " ".join(filter(None, (type(step).__name__.lower(), getattr(step, "handle", ""), short)))
