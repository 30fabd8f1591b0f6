"""An agent on a simulated node without threads: the clock is a number, every step runs to its end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hyper.agent import Agent
from hyper.core.model import Host, Publication, Traits
from hyper.core.steps import Outcome, Step
from hyper.drivers.simulated import Engine, Simulated
from hyper.images import ImageCache
from hyper.ledger import Ledger, MemoryLedger
from hyper.ports import PublishError
from hyper.workers import Workers
from manifests.kinds.image import MachineType
from manifests.scalars import Cpus, Memory, Port, Sha256
from manifests.wire import Assignment, MachineReport, Report
from tests.hyper.making import CLUSTER, DOCKER, LIBVIRT, exchange, uid

TRAITS = {
    DOCKER: Traits(live=True, native_ports=True, proxy="docker-proxy"),
    LIBVIRT: Traits(live=False, native_ports=False),
}
TYPES = (DOCKER, LIBVIRT)


@dataclass
class Ports:
    """The node's publisher. `error`: what the kernel says to the next change; `taken`: ports on
    which the node itself listens, and how that is told."""

    published: Publication = field(default_factory=dict)
    error: str = ""
    taken: dict[Port, str] = field(default_factory=dict)

    def publish(self, wanted: Publication) -> Mapping[Port, str]:
        if self.error:
            raise PublishError(self.error)
        self.published = {port: to for port, to in wanted.items() if port not in self.taken}
        return {port: self.taken[port] for port in wanted if port in self.taken}

    def close(self) -> None:
        self.published = {}


class Node:
    """`engines` and `ledger` outlive the agent, as on a real node."""

    def __init__(
        self,
        root: Path,
        *types: MachineType,
        ledger: Ledger | None = None,
        limit: int | None = None,
    ) -> None:
        """`limit`: of the cache of images, in bytes."""
        self.engines = {type_: Engine(type_) for type_ in types or (DOCKER,)}
        self.ledger = ledger or MemoryLedger()
        self.ports = Ports()
        self.now = 1000.0
        self.boots = 0
        self.root = root
        self.images = ImageCache(root / "images", limit)
        for byte in "abc":  # fetched before
            (root / "images" / Sha256(byte * 64)).write_text(byte)
        self.boot()

    def boot(self) -> None:
        """A new agent, as after the death of the one before."""
        self.boots += 1
        for engine in self.engines.values():
            engine.watchers.clear()
        host = Host(boot=f"boot{self.boots}", cpus=Cpus(8000), memory=Memory(4096), version="1")
        traits = {type_: TRAITS[type_] for type_ in self.engines}
        stock = self.images.stock()
        self.agent = Agent(ledger=self.ledger, engines=traits, host=host, stock=stock)
        drivers = {type_: Simulated(engine) for type_, engine in self.engines.items()}
        self.workers = Workers(
            drivers=drivers,
            images=self.images,
            publisher=self.ports,
            assignment=lambda: self.agent.assignment,
        )
        for type_, driver in drivers.items():
            driver.bind(CLUSTER)
            driver.watch(partial(self.agent.notify, type_))

    @property
    def engine(self) -> Engine:
        (engine,) = self.engines.values()
        return engine

    @property
    def report(self) -> Report:
        return self.agent.report

    @property
    def mutations(self) -> int:
        return sum(engine.mutations for engine in self.engines.values())

    def machine(self, name: str = "web") -> MachineReport:
        (found,) = (item for item in self.report.machines if item.uid == uid(name))
        return found

    def told(self, assignment: Assignment) -> "Node":
        """The controller's word, and everything that follows from it now."""
        self.agent.exchange(exchange(assignment))
        self.settle()
        return self

    def notify(self) -> None:
        """The engines ask to be looked at."""
        for type_ in self.engines:
            self.agent.notify(type_, None)

    def tick(self) -> list[Step]:
        return self.agent.tick(self.now, 1_700_000_000 + self.now)[0]

    def perform(self, step: Step) -> Outcome:
        outcome = self.workers.perform(step)
        self.agent.finish(step, outcome, self.now)
        return outcome

    def settle(self) -> list[Step]:
        """Carry out steps until there are none; those that were carried out."""
        done: list[Step] = []
        while steps := self.tick():
            for step in steps:
                self.perform(step)
            done += steps
            assert len(done) < 200, f"it never ends: {done[-6:]}"
        return done

    def later(self, seconds: float) -> list[Step]:
        self.now += seconds
        return self.settle()


def names(steps: list[Step]) -> list[str]:
    """What was done, but for looking."""
    found = [type(step).__name__.lower() for step in steps]
    return [name for name in found if name != "look"]
