"""The world of one seed: everything in it, and one random event after another.

Here: state, and the loop with its oracles. Not here: the events themselves (`events`).
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from typing import Any

import peewee

from manifests.codec import load
from manifests.scalars import Uid
from manifests.wire import ImageRef, Report
from reconciler.core.model import UNSEEN, Snapshot
from reconciler.store import Database
from reconciler.store.view import read
from tests.simulation import documents, logs
from tests.simulation.control import Answer, Controller, Question
from tests.simulation.faults import Crashed, Faults
from tests.simulation.node import SimNode
from tests.simulation.oracle import Limits, Oracle, Violation
from tests.simulation.outsider import Outsider
from tests.simulation.saying import Saying
from tests.simulation.users import Request, Users, call

CLUSTER = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"
EPOCH = 1_700_000_000.0
HOSTS = ("h1", "h2", "h3")


class World:
    def __init__(self, seed: int, tell: Callable[[str], None] | None = None) -> None:
        self.rng = rng = random.Random(f"schedule {seed}")
        self.seed = seed
        self.now = 0.0
        self.log: list[str] = []
        self.tell = tell
        self.events = 0
        self.errands = self.taken = self.made = 0
        self.store_full = False
        self.library = documents.library()
        self.faults = Faults.drawn(rng)
        self.oracle = Oracle(CLUSTER)
        self.saying = Saying(self.oracle)
        self.outsider = Outsider(rng, self.faults)
        self.database = self._database()
        self.nodes = [SimNode(self, host) for host in HOSTS]
        self.by_address = {node.address: node for node in self.nodes}
        self.users = Users(self, rng)
        self.questions: list[Question] = []
        self.held: list[Question] = []
        self.answers: list[Answer] = []
        self.controller: Controller | None = None
        self.deposed: list[Controller] = []
        self._last: Snapshot | None = None
        self._reports: dict[str, Report] = {}
        self._texts: dict[str, tuple[Report, str]] = {}

    def _database(self) -> Database:
        """In memory, so it outlives controllers; what they do not commit is lost with them."""
        database = Database(synchronous="OFF")
        self.query = database.sql
        for name in ("run", "sql", "insert"):
            setattr(database, name, self._faulty(getattr(database, name)))
        return database

    def _faulty(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A statement before which the program may end, or for which there is no room."""

        def faulty(*arguments: Any) -> Any:
            if self.faults.hit("controller crash in write"):
                raise Crashed("in a write")
            if self.faults.hit("store full"):
                self.store_full = True
                raise_full()
            return call(*arguments)

        return faulty

    def close(self) -> None:
        self.database.close()

    # -- time, names, words

    def wall(self) -> float:
        return EPOCH + self.now

    def new_uid(self) -> Uid:
        self.made += 1
        return Uid(f"{self.rng.getrandbits(32):08x}-0000-4000-8000-{self.made:012x}")

    def say(self, line: str) -> None:
        text = f"{self.now:9.3f} {line}"
        self.log.append(text)
        if self.tell is not None:
            self.tell(text)

    # -- controllers

    def new_controller(self) -> Controller:
        self.controller = Controller(self)
        return self.controller

    def started(self) -> Controller:
        """One that starts without trouble, so that it surely reigns."""
        on, self.faults.on = self.faults.on, False
        try:
            return self.new_controller()
        finally:
            self.faults.on = on

    def controller_crashed(self, controller: Controller) -> None:
        if self.controller is controller:
            self.controller = None
        elif controller in self.deposed:
            self.deposed.remove(controller)

    def stored(self) -> Snapshot:
        """What is in the database, whoever controls it."""
        on, self.faults.on = self.faults.on, False
        try:
            with self.database.read():
                return read(self.database).snapshot
        finally:
            self.faults.on = on

    def fetch(self, image: ImageRef, token: str) -> None:
        """The bytes of an image, as an agent gets them."""
        from hyper.download import ImageError

        if self.controller is None:
            raise ImageError("the controller does not answer")
        status, body = call(
            self.controller.app, Request("GET", f"/iaas/blobs/{image.sha256}"), token
        )
        if status != 200 or documents.digest(body) != image.sha256 or len(body) != image.size:
            raise Violation(f"S12: the bytes of {image.sha256[:12]} came with status {status}")

    # -- the wire

    def report_text(self, node: SimNode) -> str:
        """The report of an agent as JSON; made once for each report."""
        from manifests.codec import dump

        assert node.agent is not None
        report = node.agent.report
        known = self._texts.get(node.host)
        if known is None or known[0] is not report:
            text = json.dumps(dump(report), separators=(",", ":"))
            known = self._texts[node.host] = report, text
        self.saying.told(node, report)
        return known[1]

    def parsed(self, text: str) -> Report:
        found = self._reports.get(text)
        if found is None:
            found = self._reports[text] = load(Report, json.loads(text))
        return found

    # -- one event after another

    def run(self, happen: Callable[[World], str]) -> None:
        """One event, then the oracles. Raises Violation."""
        if line := happen(self):
            self.events += 1
            self.say(line)
        self.check()

    def check(self) -> None:
        if self.oracle.failure:
            raise Violation(self.oracle.failure)
        if trouble := logs.trouble():
            raise Violation(f"the product logged: {trouble}")
        if self.controller is None:
            return
        snapshot = self.controller.store.snapshot()
        if self._last is None or snapshot.revision != self._last.revision:
            self.oracle.committed(self._last, snapshot, self._capacities(snapshot))
            self._last = snapshot
            if self.rng.random() < 0.02:
                self.compare_view(snapshot)

    def compare_view(self, snapshot: Snapshot) -> None:
        """The store's cached snapshot is what is in the database."""
        if self.stored() != snapshot:
            raise Violation("S4: the store's snapshot is not what is stored")

    def _capacities(self, snapshot: Snapshot) -> dict[str, Limits]:
        assert self.controller is not None
        seen = self.controller.cluster.seen
        found: dict[str, Limits] = {}
        for node in snapshot.of_kind("Node"):
            report, given = seen.get(node.name, UNSEEN).report, node.node.capacity
            if report is not None:
                found[str(node.name)] = (given.memory or report.memory, given.cpus or report.cpus)
        return found


def raise_full() -> None:
    """As sqlite3 and peewee do when there is no room."""
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = "SQLITE_FULL"
    try:
        raise error
    except sqlite3.Error:
        raise peewee.OperationalError(error, *error.args)  # noqa: B904
