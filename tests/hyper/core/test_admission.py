"""Whose word the agent takes."""

from dataclasses import replace
from typing import Any

import pytest

from hyper.core.admission import Refusal, admit
from manifests.kinds.node import PublisherKind
from manifests.scalars import Name
from tests.hyper.making import CLUSTER, OTHER, assignment, exchange, placement

MINE = assignment(placement(), generation=5, term=3)


def test_the_first_word_is_taken() -> None:
    assert admit(exchange(MINE), None, vacant=True) == MINE


def test_a_question_alone_tells_nothing() -> None:
    assert admit(exchange(), None, vacant=True) is None
    assert admit(exchange(term=3), MINE, vacant=False) == MINE


def test_a_newer_generation_is_taken() -> None:
    newer = assignment(generation=6, term=3)
    assert admit(exchange(newer), MINE, vacant=False) == newer


@pytest.mark.parametrize("generation", [4, 5])
def test_an_older_generation_or_the_same_again_is_not(generation: int) -> None:
    other = assignment(generation=generation, term=3)
    assert admit(exchange(other), MINE, vacant=False) == MINE


def test_a_new_term_is_remembered_without_a_new_assignment() -> None:
    assert admit(exchange(term=4), MINE, vacant=False) == replace(MINE, term=4)
    older = assignment(generation=4, term=4)
    assert admit(exchange(older), MINE, vacant=False) == replace(MINE, term=4)


def test_the_term_is_the_questions_not_the_documents() -> None:
    newer = assignment(generation=6, term=3)
    taken = admit(exchange(newer, term=4), MINE, vacant=False)
    assert taken == replace(newer, term=4)


@pytest.mark.parametrize(
    ("more", "code", "sentence"),
    [
        ({"cluster": OTHER}, "cluster", "this agent runs machines of another cluster"),
        ({"cluster": OTHER, "term": 9}, "cluster", "this agent runs machines of another cluster"),
        ({"node": Name("n2")}, "node", "this agent is node n1 and runs its machines"),
        ({"term": 2}, "term", "a controller of term 3 has taken over"),
        ({"protocol": 2}, "protocol", "this agent speaks protocol 1"),
    ],
)
@pytest.mark.parametrize("with_assignment", [True, False])
def test_refused(more: dict[str, Any], code: str, sentence: str, with_assignment: bool) -> None:
    newer = assignment(generation=6, term=3) if with_assignment else None
    with pytest.raises(Refusal, match=sentence) as refusal:
        admit(exchange(newer, **{"term": 3, "cluster": CLUSTER} | more), MINE, vacant=False)
    assert refusal.value.code == code


@pytest.mark.parametrize("more", [{"cluster": OTHER, "term": 1}, {"node": Name("n2"), "term": 3}])
def test_a_vacant_agent_may_go_to_others(more: dict[str, Any]) -> None:
    """Its generation counts for nothing there, nor, in another cluster, its term."""
    theirs = assignment(generation=1, **more)
    assert admit(exchange(theirs), MINE, vacant=True) == theirs


@pytest.mark.parametrize("more", [{"cluster": OTHER}, {"node": Name("n2")}])
def test_but_not_by_a_word_that_comes_late(more: dict[str, Any]) -> None:
    """Whoever meets it anew has nothing to run on it yet."""
    late = assignment(placement(), generation=9, term=3, **more)
    with pytest.raises(Refusal):
        admit(exchange(late), MINE, vacant=True)


def test_a_vacant_agent_obeys_its_own_cluster_all_the_same() -> None:
    with pytest.raises(Refusal):
        admit(exchange(term=2), MINE, vacant=True)


def test_the_publisher_is_a_setting_of_no_generation() -> None:
    """The agent reports which one it goes by; a late word is put right by the next."""
    same = assignment(generation=5, term=3, publisher=PublisherKind.PWNCAT)
    assert admit(exchange(same), MINE, vacant=False) == replace(MINE, publisher=same.publisher)
    older = replace(same, generation=4)
    assert admit(exchange(older), MINE, vacant=False) == MINE
