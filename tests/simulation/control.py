"""One life of the control plane: as `reconciler.main` wires it, with `Fleet` done event by event."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manifests.codec import dump
from manifests.scalars import Name, Uid
from manifests.wire import Assignment, Report
from reconciler.api.app import make_app
from reconciler.api.auth import Tokens
from reconciler.api.deps import Deps
from reconciler.api.roles import Role
from reconciler.cluster import Cluster
from reconciler.core.model import Snapshot
from reconciler.fleet.session import Session
from reconciler.loop import Loop
from reconciler.signal import Signal
from reconciler.sources import Sources
from reconciler.store import Store
from reconciler.submit import Desk

if TYPE_CHECKING:
    from tests.simulation.world import World

ADMIN, AGENT = "a" * 20, "b" * 20
Link = tuple[str, str]
"""(name, address) of a node."""


@dataclass(slots=True)
class Question:
    """On its way to an agent, or held there. `errand` numbers all questions of a run."""

    errand: int
    sender: Controller
    link: Link
    session: Session
    number: int
    text: str
    answered: str | None = None
    """A connection carries one answer; it may come twice."""


@dataclass(slots=True)
class Answer:
    """On its way back. `taken` orders the reports of a run; an error has no report."""

    question: Question
    text: str
    taken: int
    error: str = ""


class Controller:
    def __init__(self, world: World) -> None:
        self.world = world
        self.store = Store(world.database, cluster=Uid(world.oracle.cluster))
        self.term = self.store.take_term()
        self.cluster = Cluster(self.store, Signal())
        self.desk = Desk(self.cluster, world.library, new_uid=world.new_uid, clock=world.wall)
        self.app = make_app(
            Deps(
                cluster=self.cluster,
                desk=self.desk,
                library=world.library,
                sources=Sources(self.cluster, world.wall),
                tokens=Tokens({Role.ADMIN: lambda: ADMIN, Role.AGENT: lambda: AGENT}),
            )
        )
        self.loop = Loop(self.cluster, self.term, world.wall)
        self.base = Assignment(
            cluster=self.store.cluster,
            term=self.term,
            node=Name(),
            generation=0,
            images_url="http://controller.lab/iaas/blobs",
            images_token=AGENT,
        )
        self.sessions: dict[Link, Session] = {}
        self.open: dict[Link, Question] = {}
        self.taken: dict[Link, int] = {}
        self.passed = 0
        """The version of the signal that the last pass without changes has seen."""
        self._met: object = None

    def meet(self) -> Snapshot:
        """A session for each node, as `Fleet._meet`."""
        snapshot = self.cluster.snapshot()
        if self._met is snapshot.objects:
            return snapshot
        self._met = snapshot.objects
        nodes = snapshot.of_kind("Node")
        wanted = {(str(node.name), str(node.node.address)) for node in nodes}
        for link in sorted(self.sessions.keys() - wanted):
            del self.sessions[link]
            self.open.pop(link, None)
            # The connections of a node that is gone are closed, also those of earlier controllers.
            questions = self.world.questions
            questions[:] = [it for it in questions if it.link != link]
            if link[0] not in {name for name, _ in wanted}:
                self.cluster.see(link[0], None)
        for link in sorted(wanted - self.sessions.keys()):
            self.sessions[link] = Session(
                Name(link[0]), self.cluster, self.base, lambda: self.world.now
            )
            self.taken[link] = 0
        return snapshot

    def ask(self, link: Link) -> Question:
        session = self.sessions[link]
        number, exchange = session.ask()
        self.world.errands += 1
        text = json.dumps(dump(exchange), separators=(",", ":"))
        question = Question(self.world.errands, self, link, session, number, text)
        self.open[link] = question
        return question

    def hear(self, answer: Answer, report: Report | None) -> None:
        """An answer arrives; the connection it arrives on may long be given up."""
        question = answer.question
        session = question.session
        if self.sessions.get(question.link) is not session:
            return
        if question.answered not in (None, answer.text):
            return
        question.answered = answer.text
        mine = self.open.get(question.link) is question
        if report is not None:
            session.answer(question.number, report)
            self.world.saying.taken(self, question.link, answer.taken, report)
        elif mine:
            session.silent(answer.error)
        if mine:
            del self.open[question.link]

    def give_up(self, link: Link) -> None:
        """No answer came in time."""
        del self.open[link]
        self.sessions[link].silent("no answer")

    def cut_short(self, link: Link) -> None:
        """There is something newer to say."""
        del self.open[link]
