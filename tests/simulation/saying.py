"""Whether what agents report and the API shows is true: S19, and that observed time never runs back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hyper.core.model import Life
from manifests.wire import Phase, Report
from reconciler.core.model import UNSEEN, NodeState
from tests.simulation.oracle import Oracle, demand

if TYPE_CHECKING:
    from tests.simulation.control import Controller, Link
    from tests.simulation.node import SimNode

LEASE = 10.0
"""Seconds after which a silent node's machines are unknown, as documented."""


class Saying:
    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.heard: dict[tuple[int, str], tuple[float, Report]] = {}

    def told(self, node: SimNode, report: Report) -> None:
        """An agent answers with this report, now."""
        truth = {(it.uid, it.epoch): it for e in node.engines.values() for it in e.ours()}
        settled = node.settled()
        known = {driver.type for driver in report.drivers if driver.ok}
        said = {(machine.uid, machine.epoch): machine.phase for machine in report.machines}
        for key, it in truth.items():
            if settled and it.type in known and report.generation and it.life is Life.RUNNING:
                there = said.get(key) not in (None, Phase.STOPPED)
                demand(there, f"S19: {it.name} runs, and its agent says {said.get(key)}")
        for machine in report.machines:
            if machine.phase is not Phase.RUNNING:
                continue
            key = (machine.uid, machine.epoch)
            demand(key in self.oracle.ran, f"S19: {machine.uid[:8]} never ran, reported running")
            if settled:
                runs = key in truth and truth[key].life is Life.RUNNING
                demand(runs, f"S19: {machine.uid[:8]} is reported running and does not")

    def taken(self, controller: Controller, link: Link, taken: int, report: Report) -> None:
        """A controller was given a report: is it what the controller now believes?"""
        place = (controller.term, link[0])
        believed = controller.cluster.seen.get(link[0], UNSEEN).report
        _, last = self.heard.get(place, (0.0, None))
        if believed is not report or last is report:
            if last is report and believed is report:
                self.heard[place] = (controller.world.now, report)
                controller.taken[link] = max(taken, controller.taken[link])
            return
        demand(taken >= controller.taken[link], f"S19: a late report of {link[0]} was believed")
        controller.taken[link] = taken
        self.heard[place] = (controller.world.now, report)

    def shown(self, controller: Controller, machines: list[dict[str, Any]]) -> None:
        """The API shows these machines."""
        found = sorted(controller.cluster.snapshot().placements, key=lambda it: it.epoch)
        placed = {it.uid: it for it in found}  # the newest; late ones are of earlier epochs
        for machine in machines:
            if machine["state"] != "running":
                continue
            it = placed.get(machine["id"])
            demand(it is not None, f"S19: {machine['name']} has no place, shown running")
            assert it is not None
            state = controller.cluster.seen.get(it.node, UNSEEN).state
            demand(state is not NodeState.UNAVAILABLE, f"S19: {it.node} is silent, shown running")
            _, report = self.heard.get((controller.term, it.node), (0.0, None))
            phases = {(m.uid, m.epoch): m.phase for m in report.machines} if report else {}
            said = phases.get((it.uid, it.epoch))
            demand(
                said is Phase.RUNNING,
                f"S19: {machine['name']} is shown running, its node said {said}",
            )
