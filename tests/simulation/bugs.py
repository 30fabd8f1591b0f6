"""Deliberate bugs in the product: a simulator that does not find them proves nothing.

Each swaps attributes of product classes and modules, and puts them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import hyper.agent
import reconciler.core.passes.release as release
import reconciler.core.passes.retire as retire
from hyper.agent import Agent
from hyper.core import shelf
from hyper.core.admission import Refusal, admit
from hyper.core.model import Instance
from hyper.core.views import Engine
from hyper.ledger import Entry
from manifests.wire import Assignment, Exchange, Placement, Report, Tombstone
from reconciler.core.model import UNSEEN, NodeState, Placed, Seen, Snapshot
from reconciler.core.scheduling import filters
from reconciler.fleet.session import Session
from reconciler.store.errors import Stale
from reconciler.store.store import Store
from tests.simulation.host import SimLedger

Swap = tuple[Any, str, Any]


@contextmanager
def swapped(name: str) -> Iterator[None]:
    """The product with the bug of this name."""
    swaps = BUGS[name]()
    before = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in swaps]
    for owner, attribute, value in swaps:
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, attribute, value in before:
            setattr(owner, attribute, value)


def old_report_confirms() -> list[Swap]:
    """What is absent from a report is taken for gone, whatever the agent knew when it reported."""
    honest = release.confirmed_gone

    def confirmed_gone(snapshot: Snapshot, placed: Placed) -> bool:
        return honest(snapshot, replace(placed, generation=0))

    return [(release, "confirmed_gone", confirmed_gone)]


def absence_removes() -> list[Swap]:
    """The agent removes what is not in its assignment."""
    honest = Agent._machine

    def machine(
        self: Agent, turn: Any, uid: str, role: Placement | Tombstone | None, it: Instance | None
    ) -> Any:
        if role is None and it is not None:
            role = Tombstone(it.uid, it.epoch)
        return honest(self, turn, uid, role, it)

    return [(Agent, "_machine", machine)]


def no_compare_and_set() -> list[Swap]:
    """The store takes a write that was made for another revision or in another term."""
    honest = Store._advance

    def advance(self: Store, revision: int, term: int | None) -> int:
        try:
            return honest(self, revision, None)
        except Stale:
            ((now,),) = self.database.sql("SELECT revision FROM meta")
            return honest(self, now, None)

    return [(Store, "_advance", advance)]


def late_answers_count() -> list[Swap]:
    """The answer to an old question is believed."""
    honest = Session.answer

    def answer(self: Session, question: int, report: Report) -> None:
        honest(self, self._question, report)

    return [(Session, "answer", answer)]


def looks_without_order() -> list[Swap]:
    """What an early look saw, but told late, overwrites what a later one saw."""
    looked, inspected = Engine.looked, Engine.inspected

    def look(self: Engine, view: Any, ticket: int) -> None:
        self.tickets.clear()
        looked(self, view, ticket)

    def inspect(self: Engine, handle: str, instance: Instance | None, ticket: int) -> None:
        self.tickets.pop(handle, None)
        inspected(self, handle, instance, ticket)

    return [(Engine, "looked", look), (Engine, "inspected", inspect)]


def ledger_saved_later() -> list[Swap]:
    """What is acknowledged is on disk only with the next write."""

    def save(self: SimLedger, entry: Entry) -> None:
        self.disk.entry, self.entry = self.entry, entry

    return [(SimLedger, "save", save)]


def old_terms_count() -> list[Swap]:
    """The agent takes the word of a controller that was replaced."""

    def lenient(request: Exchange, mine: Assignment | None, *, vacant: bool) -> Assignment | None:
        try:
            return admit(request, mine, vacant=vacant)
        except Refusal as refusal:
            if refusal.code != "term" or mine is None:
                raise
            return admit(replace(request, term=mine.term), mine, vacant=vacant)

    return [(hyper.agent, "admit", lenient)]


def old_generations_count() -> list[Swap]:
    """The agent takes an assignment that is older than its own."""

    def lenient(request: Exchange, mine: Assignment | None, *, vacant: bool) -> Assignment | None:
        admit(request, mine, vacant=vacant)
        return request.assignment or mine

    return [(hyper.agent, "admit", lenient)]


def ports_unclaimed() -> list[Swap]:
    """The scheduler gives out ports that are taken."""
    kept = tuple(rule for rule in filters.FILTERS if rule is not filters.port)
    return [(filters, "FILTERS", kept)]


def silence_is_absence() -> list[Swap]:
    """A node that does not answer is taken to run nothing."""

    def silent(self: Session, error: str) -> None:
        old = self._cluster.seen.get(self.node, UNSEEN).report
        empty = old and replace(old, machines=(), generation=10**6)
        self._cluster.see(self.node, Seen(NodeState.UNAVAILABLE, empty, error))

    return [(Session, "silent", silent)]


def late_ones_forgotten() -> list[Swap]:
    """What appears after it was confirmed gone is nobody's."""
    return [(retire, "_retire_late", lambda draft, node, machine: None)]


def own_stops_forgotten() -> list[Swap]:
    """The agent does not remember which machines it stopped itself."""
    return [(Agent, "_halt", lambda self, uid, *, halted: None)]


def images_in_use_dropped() -> list[Swap]:
    """Only what machines will start from is kept, not what instances rest on."""
    honest = shelf.use_of

    def use_of(*arguments: Any) -> Any:
        return replace(honest(*arguments), used=set())

    return [(hyper.agent, "use_of", use_of)]


BUGS: dict[str, Callable[[], list[Swap]]] = {
    "old-report-confirms": old_report_confirms,
    "absence-removes": absence_removes,
    "no-compare-and-set": no_compare_and_set,
    "late-answers-count": late_answers_count,
    "looks-without-order": looks_without_order,
    "ledger-saved-later": ledger_saved_later,
    "old-terms-count": old_terms_count,
    "old-generations-count": old_generations_count,
    "ports-unclaimed": ports_unclaimed,
    "silence-is-absence": silence_is_absence,
    "late-ones-forgotten": late_ones_forgotten,
    "own-stops-forgotten": own_stops_forgotten,
    "images-in-use-dropped": images_in_use_dropped,
}
