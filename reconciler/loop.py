"""The reconcile loop: snapshot, decide, check, commit; again while there is something to do.

It is woken, never polls; a wake-up says nothing but "look again". A plan that breaks an invariant
is not carried out. A pass that raises is logged, told as an event, and tried again later and later.
"""

import asyncio
import logging
from collections.abc import Callable

from manifests.wire import Report
from reconciler.cluster import Cluster
from reconciler.core.check import check
from reconciler.core.events import events_of, events_of_reports
from reconciler.core.model import Snapshot
from reconciler.core.plan import Plan
from reconciler.core.reconcile import reconcile
from reconciler.store import Deposed, Stale, StoreFailed

log = logging.getLogger("reconciler")

LONGEST_PAUSE = 60.0


class Loop:
    def __init__(self, cluster: Cluster, term: int, clock: Callable[[], float]) -> None:
        """`clock` gives epoch seconds, for events."""
        self._cluster = cluster
        self._term = term
        self._clock = clock
        self._told: dict[str, Report] = {}

    def step(self) -> bool:
        """One pass; True if it changed the store. Raises StoreError, Deposed."""
        if failure := self._cluster.store.failure:
            raise StoreFailed(failure)
        snapshot = self._cluster.snapshot()
        self._write_down(snapshot)
        plan = reconcile(snapshot)
        if violations := check(snapshot, plan):
            log.error("a plan was refused: %s\n%s", "; ".join(violations), plan)
            raise UnsafePlan("; ".join(violations))
        self._cluster.explain(plan.waits)
        return bool(plan) and self._commit(plan, snapshot.revision)

    def _commit(self, plan: Plan, revision: int) -> bool:
        events = events_of(plan, self._clock())
        try:
            self._cluster.store.commit(plan, revision=revision, term=self._term, events=events)
        except Stale:
            return True  # somebody was quicker: look again
        log.info("%s", str(plan).rstrip())
        self._cluster.signal.bump()
        return True

    def _write_down(self, snapshot: Snapshot) -> None:
        """What the agents saw happen, as events."""
        if events := events_of_reports(snapshot, self._told, self._clock()):
            self._cluster.store.record(events)
            self._cluster.signal.bump()
        self._told = {node: seen.report for node, seen in snapshot.seen.items() if seen.report}

    async def run(self) -> None:
        """Reconcile whenever the signal moves, until cancelled."""
        loop, wake = asyncio.get_running_loop(), asyncio.Event()
        self._cluster.signal.subscribe(lambda: loop.call_soon_threadsafe(wake.set))
        pause = 0.0
        while True:
            wake.clear()
            try:
                # In a thread: a long pass, or a slow disk, must not look like a silent fleet.
                while await asyncio.to_thread(self.step):
                    pass
                pause = 0.0
                await wake.wait()
            except (Deposed, StoreFailed):
                raise  # another controller leads, or the disk cannot be trusted: end this process
            except Exception:
                pause = min(LONGEST_PAUSE, 2 * pause + 0.5)
                log.exception("a pass failed; trying again in %.1f s", pause)
                await asyncio.sleep(pause)


class UnsafePlan(Exception):
    """The passes made a plan that breaks an invariant: a bug, and nothing was done."""
