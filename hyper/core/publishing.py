"""Which ports the publisher shall publish: those of running machines whose engine does not do it."""

from collections.abc import Iterable, Mapping

from hyper.core.backoff import FRESH, failed
from hyper.core.model import Instance, Life, Publication, Target
from hyper.core.steps import Outcome, Publish
from manifests.kinds.machine import PowerState
from manifests.kinds.node import PublisherKind
from manifests.scalars import Port
from manifests.wire import Placement


def publication(placements: Iterable[Placement], there: dict[str, list[Instance]]) -> Publication:
    wanted: dict[Port, Target] = {}
    for placement in placements:
        for instance in there.get(placement.uid, []):
            wanted |= ports_of(placement, instance)
    return wanted


def ports_of(placement: Placement, instance: Instance) -> dict[Port, Target]:
    """Where the ports of a placement lead while this instance of it runs."""
    serves = instance.epoch == placement.epoch and instance.life is Life.RUNNING and instance.ip
    if not serves or placement.state is not PowerState.RUNNING:
        return {}
    return {port: Target(instance.ip, port.machine) for port in placement.ports}


CHECK = 30.0
"""Seconds after which the publisher is asked again: somebody may have flushed its rules, or the
program may have ended that had a port."""


class Publishing:
    """What the publisher was told last, and what came of it. `published` None: not told yet."""

    def __init__(self) -> None:
        self.published: Publication | None = None
        self._refused: Mapping[Port, str] = {}
        self._trouble = FRESH
        self._by: PublisherKind | None = None
        self._check_at = 0.0

    def step(
        self, wanted: Publication, now: float, by: PublisherKind = PublisherKind.NFTABLES
    ) -> tuple[Publish | None, list[float]]:
        """(what to publish now, when to ask again)."""
        if now < self._trouble.retry_at:
            return None, [self._trouble.retry_at]
        told = self.published is not None and wanted == {**self.published, **self._left_out(wanted)}
        told = told and by is self._by
        if not told or (wanted and now >= self._check_at):
            return Publish(wanted=wanted, by=by), []
        return None, [self._check_at] if wanted else []

    def _left_out(self, wanted: Publication) -> Publication:
        return {port: target for port, target in wanted.items() if port in self._refused}

    def finished(self, step: Publish, outcome: Outcome, now: float) -> None:
        if outcome.error:
            self._trouble = failed(self._trouble, error=outcome.error, uid="publish", now=now)
            return
        self._refused, self._trouble, self._check_at = outcome.refused, FRESH, now + CHECK
        self._by = step.by
        self.published = {
            port: target for port, target in step.wanted.items() if port not in outcome.refused
        }

    def why_not(self, wanted: Publication) -> str:
        """Why some of these ports are not published; "" where all are."""
        if self.published is None and not self._trouble.error:
            return ""  # as the agent before this one left it, until we have asked
        published = self.published or {}
        missing = [port for port, target in wanted.items() if published.get(port) != target]
        if not missing:
            return ""
        if reasons := [self._refused[port] for port in missing if port in self._refused]:
            return "; ".join(reasons)
        if self._trouble.error:
            return f"its ports are not published: {self._trouble.error}"
        return "publishing its ports"
