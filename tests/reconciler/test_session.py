"""One node's conversation without its socket: what is asked, what an answer means, when it is lost."""

from dataclasses import replace

import pytest

from manifests.kinds.node import PublisherKind
from manifests.scalars import Cpus, Memory, Name
from manifests.wire import Assignment, Report
from reconciler.core.model import NodeState
from reconciler.fleet.session import LEASE, POLL, Session
from tests.reconciler.world import World, image, machine, node, placing, plan

NODE = Name("node1")


class Talk:
    """A session with the node1 of a world, on a clock that stands still."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.now = 50.0
        world.upload()
        world.desk.apply([node("node1"), image(), machine("web")])
        self.base = Assignment(
            cluster=world.cluster.store.cluster,
            term=world.term,
            node=Name(),
            generation=0,
            images_url="http://controller/blobs",
            images_token="t",
        )
        self.session = self.another()

    def another(self) -> Session:
        return Session(NODE, self.world.cluster, self.base, lambda: self.now)

    def place(self) -> None:
        """A new assignment for the node."""
        before = self.world.store.snapshot()
        item = before.objects["Machine", "web"]
        self.world.store.commit(
            plan(placing(item, 1)), revision=before.revision, term=self.world.term
        )

    @property
    def state(self) -> tuple[str, str]:
        seen = self.world.cluster.seen[NODE]
        return seen.state, seen.error


@pytest.fixture
def talk(world: World) -> Talk:
    return Talk(world)


def report(revision: int = 1, generation: int = 0, **more: str) -> Report:
    usual = Report(
        node=NODE,
        boot="b",
        revision=revision,
        generation=generation,
        cpus=Cpus(1000),
        memory=Memory(1024),
    )
    return replace(usual, **more)


def test_the_first_question_brings_everything_and_knows_nothing(talk: Talk) -> None:
    talk.place()
    _, question = talk.session.ask()
    assert question.assignment is not None
    assert (question.node, question.term, question.wait) == ("node1", talk.world.term, POLL)
    assert (question.boot, question.revision) == ("", 0)
    assert question.assignment.generation == 1
    assert [item.name for item in question.assignment.run] == ["web"]
    assert question.assignment.images_url == "http://controller/blobs"


def test_who_knows_its_assignment_is_only_asked_for_news(talk: Talk) -> None:
    talk.session.answer(talk.session.ask()[0], report(revision=7))
    _, question = talk.session.ask()
    assert question.assignment is None
    assert (question.boot, question.revision) == ("b", 7)


def test_behind_until_the_node_says_that_it_has_it(talk: Talk) -> None:
    session, snapshot = talk.session, talk.world.cluster.snapshot
    assert session.behind(snapshot())
    session.answer(session.ask()[0], report())
    assert not session.behind(snapshot())
    talk.place()
    assert session.behind(snapshot())
    session.answer(session.ask()[0], report(revision=2, generation=0))
    assert session.behind(snapshot())
    assert session.ask()[1].assignment is not None
    session.answer(session.ask()[0], report(revision=3, generation=1))
    assert not session.behind(snapshot())


def test_an_answer_makes_the_node_ready(talk: Talk) -> None:
    talk.session.answer(talk.session.ask()[0], report())
    assert talk.state == (NodeState.READY, "")
    assert talk.world.cluster.seen[NODE].report == report()


def test_a_report_of_another_node_says_nothing(talk: Talk) -> None:
    """The agent there has not taken up our word yet; its lease runs on."""
    talk.session.answer(talk.session.ask()[0], report())
    talk.now += LEASE
    talk.session.answer(talk.session.ask()[0], report(revision=2, node=Name("n9")))
    assert talk.state == (NodeState.UNAVAILABLE, "the agent there is node n9 still")
    assert talk.session.behind(talk.world.cluster.snapshot())
    assert talk.session.ask()[1].boot == ""


def test_a_late_answer_is_ignored(talk: Talk) -> None:
    older, _ = talk.session.ask()
    newer, _ = talk.session.ask()
    talk.session.answer(older, report(revision=1))
    assert NODE not in talk.world.cluster.seen
    talk.session.answer(newer, report(revision=2))
    talk.session.answer(older, report(revision=1))
    assert talk.world.cluster.seen[NODE].report == report(revision=2)


def test_a_late_answer_renews_no_lease(talk: Talk) -> None:
    older, _ = talk.session.ask()
    talk.session.ask()
    talk.now += LEASE
    talk.session.answer(older, report())
    talk.session.silent("no answer")
    assert talk.state[0] == NodeState.UNAVAILABLE


def test_the_same_report_again_wakes_nobody(talk: Talk) -> None:
    talk.session.answer(talk.session.ask()[0], report())
    version = talk.world.cluster.signal.version
    talk.session.answer(talk.session.ask()[0], report())
    assert talk.world.cluster.signal.version == version


def test_never_heard_of_it_is_joining_with_the_reason(talk: Talk) -> None:
    talk.session.silent("connection refused")
    assert talk.state == (NodeState.JOINING, "connection refused")


def test_silence_counts_only_after_a_whole_lease(talk: Talk) -> None:
    talk.now += 100
    talk.session.answer(talk.session.ask()[0], report())
    talk.now += LEASE - 0.1
    talk.session.silent("timeout")
    assert talk.state == (NodeState.READY, "")
    talk.now += 0.1
    talk.session.silent("timeout")
    assert talk.state == (NodeState.UNAVAILABLE, "timeout")
    assert talk.world.cluster.seen[NODE].report == report()


def test_a_new_controller_gives_a_whole_lease_too(talk: Talk) -> None:
    talk.now += 1000
    session = talk.another()
    talk.now += LEASE - 0.1
    session.silent("timeout")
    assert talk.state[0] == NodeState.JOINING
    talk.now += 0.1
    session.silent("timeout")
    assert talk.state[0] == NodeState.UNAVAILABLE


def test_the_first_answer_after_silence_is_enough(talk: Talk) -> None:
    talk.now += LEASE
    talk.session.silent("timeout")
    talk.session.answer(talk.session.ask()[0], report())
    assert talk.state == (NodeState.READY, "")
    talk.session.silent("timeout")
    assert talk.state[0] == NodeState.READY


def test_a_node_is_told_of_another_publisher_until_it_says_that_it_has_it(talk: Talk) -> None:
    question, _ = talk.session.ask()
    talk.session.answer(question, report())
    assert talk.session.ask()[1].assignment is None
    other = node("node1")
    other["spec"]["publisher"] = "pwncat"
    talk.world.desk.apply([other])
    assert talk.session.behind(talk.world.cluster.snapshot())
    question, asked = talk.session.ask()
    assert asked.assignment is not None
    assert asked.assignment.publisher is PublisherKind.PWNCAT
    talk.session.answer(question, replace(report(2), publisher=PublisherKind.PWNCAT))
    assert not talk.session.behind(talk.world.cluster.snapshot())
