"""Events: written with the change they tell of, read from an id on, bounded."""

import pytest

from reconciler.store import Store
from reconciler.store import events as journal
from tests.reconciler.stores import event, filled
from tests.reconciler.world import create, machine


def test_events_are_written_with_the_change_and_read_from_an_id_on() -> None:
    store, revision = filled(machine("web"))
    store.submit([create(2, machine("b"))], revision=revision, also=[event("b")])
    store.record([event("web", at=2.0), event("b", at=3.0)])
    assert [item.id for item in store.events()] == [1, 2, 3]
    assert [item.event.at for item in store.events(since=1)] == [2.0, 3.0]
    assert [item.id for item in store.events(name="b")] == [1, 3]
    assert [item.id for item in store.events(since=0, limit=2)] == [1, 2]
    assert [item.id for item in store.events(limit=2)] == [2, 3]
    assert store.events(kind="Node") == ()


def test_events_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "KEPT", 10)
    store = Store()
    for number in range(25):
        store.record([event(f"m{number}")])
    assert [item.id for item in store.events()] == list(range(16, 26))
