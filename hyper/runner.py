"""The threads around the agent: one that decides, pools that carry steps out, and the exchange.

The lock is the agent's; nothing slow happens under it but the ledger.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from hyper.agent import Agent
from hyper.core.steps import Look, Prepare, Step, Stop
from hyper.ledger import LedgerError
from hyper.workers import Workers
from manifests.kinds.image import MachineType
from manifests.wire import Exchange, Listener, Report

log = logging.getLogger("hyper")

HANDS = 4
"""Machines of one engine worked on at once: more does not make an engine faster on small hosts."""
STOPPING = 32
"""Stops mostly wait for the machine to end, so many may wait at once."""
ENDING = 10.0
"""Seconds that steps under way get to end when the agent is told to."""
BURST, CALM = 12.0, 0.2
"""So many answers go to the controller at once; in a longer burst of changes it gets the newest state
every so many seconds. Each costs work on both sides, which the engines need just then."""


class Runner:
    def __init__(self, agent: Agent, workers: Workers, bind: Callable[[str], None]) -> None:
        """`bind` is called once, with the cluster, before anything is looked at."""
        self._agent = agent
        self._workers = workers
        self._bind = bind
        self._bound = ""
        self._changed = threading.Condition()
        self._dirty = True
        self._stopping = False
        self.restart = False
        self._exchanges = 0
        self._answers, self._counted = BURST, 0.0
        self._at_work = 0
        self._pools: dict[object, ThreadPoolExecutor] = {}

    def exchange(self, request: Exchange) -> Report:
        """Take a controller's word and answer when there is news, or after `request.wait` seconds.

        A newer exchange makes an older one answer at once. Raises Refusal, LedgerError.
        """
        with self._changed:
            if self._agent.exchange(request, time.monotonic()):
                self._dirty = True
            self._exchanges += 1
            mine = self._exchanges
            self._changed.notify_all()
            until = time.monotonic() + min(max(request.wait, 0), 30)
            self._wait(mine, until, lambda: self._news(request))
            self._wait(mine, min(self._calm_at(), until), lambda: False)
            if self._exchanges == mine:
                self._answers -= 1
            return self._agent.report

    def _calm_at(self) -> float:
        """When the next answer may go out; a quiet time earns answers that may go at once."""
        now = time.monotonic()
        self._answers = min(BURST, self._answers + (now - self._counted) / CALM)
        self._counted = now
        return now + max(1 - self._answers, 0) * CALM

    def _news(self, request: Exchange) -> bool:
        report = self._agent.report
        mine = self._agent.assignment
        told = (report.boot, report.revision) != (request.boot, request.revision)
        current = mine is None or (report.node, report.generation) == (mine.node, mine.generation)
        return told and current and (mine is None or self._agent.looked)

    def _wait(self, mine: int, until: float, done: Callable[[], bool]) -> None:
        while not (done() or self._stopping or self._exchanges != mine):
            left = until - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)

    def notify(self, type_: MachineType, handle: str | None) -> None:
        with self._changed:
            self._agent.notify(type_, handle)
            self._poke()

    def hear(self, listeners: tuple[Listener, ...]) -> None:
        with self._changed:
            self._agent.hear(listeners)
            self._poke()

    def progress(self, sha256: str, done: int) -> None:
        with self._changed:
            self._agent.progress(sha256, done)
            self._poke()

    def _poke(self) -> None:
        self._dirty = True
        self._changed.notify_all()

    def run(self) -> None:
        """Decide until `stop`; returns when the steps under way have ended, or
        after ENDING seconds: what an engine does for us it does without us, too."""
        with self._changed:
            while not self._stopping:
                self._dirty = False
                wake_at = self._turn()
                if not self._dirty and not self._stopping:
                    pause = None if wake_at is None else max(wake_at - time.monotonic(), 0.001)
                    self._changed.wait(pause)
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        with self._changed:
            self._changed.wait_for(lambda: not self._at_work, ENDING)

    def _turn(self) -> float | None:
        if not self._ready():
            return None
        before = self._agent.report
        steps, wake_at = self._agent.tick(time.monotonic(), time.time())
        for step in steps:
            self._pool(step).submit(self._carry_out, step)
        if self._agent.report is not before:
            self._changed.notify_all()
        return wake_at

    def _ready(self) -> bool:
        """Bound to the cluster that the assignment names; another cluster later means a new start."""
        cluster = self._agent.assignment.cluster if self._agent.assignment else ""
        if cluster and not self._bound:
            self._bind(cluster)
            self._bound = cluster
        elif cluster != self._bound:
            log.warning("this agent now belongs to another cluster; starting anew")
            self.restart = self._stopping = True
        return bool(self._bound) and not self._stopping

    def _carry_out(self, step: Step) -> None:
        with self._changed:
            self._at_work += 1
        try:
            self._perform(step)
        finally:
            with self._changed:
                self._at_work -= 1
                self._poke()

    def _perform(self, step: Step) -> None:
        outcome = self._workers.perform(step)
        if outcome.error:
            log.warning("%s: %s", type(step).__name__.lower(), outcome.error)
        with self._changed:
            try:
                self._agent.finish(step, outcome, time.monotonic())
            except LedgerError as error:
                log.error("%s", error)

    def _pool(self, step: Step) -> ThreadPoolExecutor:
        type_ = getattr(step, "type", None)
        if isinstance(step, Stop):
            return self._make_pool(("stop", type_), STOPPING)
        if isinstance(step, Look | Prepare):
            return self._make_pool((type(step), type_), 2)
        return self._make_pool(type_, HANDS)

    def _make_pool(self, key: object, size: int) -> ThreadPoolExecutor:
        if key not in self._pools:
            self._pools[key] = ThreadPoolExecutor(size)
        return self._pools[key]

    def stop(self) -> None:
        """End `run` and every waiting exchange; machines are left as they are."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
