"""The store: fenced, whole or not at all, and silent when nothing changes."""

import threading
from pathlib import Path

import pytest

from reconciler.core.desired import Change
from reconciler.core.model import Stage
from reconciler.core.plan import Forget, Update
from reconciler.store import (
    BadPlan,
    Database,
    Deposed,
    PortTaken,
    Stale,
    Store,
    StoreError,
)
from reconciler.store import apply as operations
from tests.reconciler.stores import event, filled, gone, leaving, stored
from tests.reconciler.world import create, image, machine, node, placing, plan, uid

# -- desired state ---------------------------------------------------------------------------------


def test_what_is_submitted_is_in_the_snapshot_and_in_a_new_store_on_the_same_database() -> None:
    store, revision = filled(image(), machine("web", ports=["8080:80"], env={"A": "1"}), node("n1"))
    assert revision == 2
    assert set(store.snapshot().objects) == {("Image", "disk"), ("Machine", "web"), ("Node", "n1")}
    assert Store(store.database).snapshot() == store.snapshot()


def test_a_change_keeps_the_uid_and_a_deletion_is_a_mark() -> None:
    store, revision = filled(machine("web"))
    before = stored(store, "web")
    after = create(1, machine("web", memory="2Gi")).after
    revision = store.submit([Change(key=before.key, before=before, after=after)], revision=revision)
    assert stored(store, "web").machine.memory == 2048
    store.submit([Change(key=before.key, before=before, after=None)], revision=revision)
    assert stored(store, "web").deleting
    assert stored(store, "web").uid == before.uid


def test_a_submission_for_another_revision_is_stale_and_writes_nothing() -> None:
    store, revision = filled(machine("web"))
    writes = store.writes
    with pytest.raises(Stale, match="at revision 2, not 1"):
        store.submit([create(9, machine("late"))], revision=revision - 1)
    assert store.writes == writes
    assert ("Machine", "late") not in store.snapshot().objects


def test_nothing_of_a_submission_is_kept_when_a_part_of_it_fails() -> None:
    store, revision = filled(machine("web"))
    twice = [create(7, machine("a")), create(7, machine("b"))]
    with pytest.raises(StoreError):
        store.submit(twice, revision=revision, also=[event("a")])
    assert store.snapshot().revision == revision
    assert Store(store.database).snapshot() == store.snapshot()
    assert store.events() == ()


# -- plans -----------------------------------------------------------------------------------------


def test_the_life_of_a_placement() -> None:
    store, revision = filled(machine("web", ports=["8080:80"]))
    item = stored(store, "web")

    revision = store.commit(plan(placing(item, 1)), revision=revision, term=1)
    (placed,) = store.snapshot().placements
    assert (placed.stage, placed.node, placed.epoch, placed.generation) == (
        Stage.ACTIVE, "node1", 1, 1,
    )  # fmt: skip
    assert placed.wire == placing(item, 1).wire

    revision = store.commit(plan(leaving(item)), revision=revision, term=1)
    (placed,) = store.snapshot().placements
    assert (placed.stage, placed.generation) == (Stage.LEAVING, 2)

    revision = store.commit(plan(gone(item)), revision=revision, term=1)
    snapshot = store.snapshot()
    assert snapshot.placements == ()
    assert snapshot.gone == {("node1", item.uid): 1}
    assert snapshot.generations == {"node1": 3}

    store.commit(plan(leaving(item)), revision=revision, term=1)
    (placed,) = store.snapshot().placements
    assert (placed.stage, placed.generation) == (Stage.LEAVING, 4)
    assert store.snapshot().gone == {}


def test_one_commit_bumps_the_generation_of_a_node_once_and_only_of_touched_nodes() -> None:
    store, revision = filled(machine("a"), machine("b"), machine("c"))
    first, second, third = (stored(store, name) for name in "abc")
    made = plan(placing(first, 1), placing(second, 1), placing(third, 1, "node2"))
    revision = store.commit(made, revision=revision, term=1)
    assert store.snapshot().generations == {"node1": 1, "node2": 1}
    store.commit(plan(leaving(first)), revision=revision, term=1)
    assert store.snapshot().generations == {"node1": 2, "node2": 1}
    assert {item.wire.name: item.generation for item in store.snapshot().placements} == {
        "a": 2, "b": 1, "c": 1,
    }  # fmt: skip


def test_a_port_has_one_owner_until_it_is_released() -> None:
    store, revision = filled(machine("a", ports=["80:80"]), machine("b", ports=["80:81"]))
    first, second = stored(store, "a"), stored(store, "b")
    revision = store.commit(plan(placing(first, 1)), revision=revision, term=1)
    with pytest.raises(PortTaken, match="port 80/tcp on node1 belongs to machine 'a'") as caught:
        store.commit(plan(placing(second, 1)), revision=revision, term=1)
    assert caught.value.owner == first.uid
    assert [item.wire.name for item in store.snapshot().placements] == ["a"]

    revision = store.commit(plan(leaving(first)), revision=revision, term=1)
    with pytest.raises(PortTaken):
        store.commit(plan(placing(second, 1)), revision=revision, term=1)
    store.commit(plan(placing(second, 1), gone(first)), revision=revision, term=1)
    assert [item.wire.name for item in store.snapshot().placements] == ["b"]


def test_ports_may_be_swapped_in_one_plan() -> None:
    store, revision = filled(machine("a", ports=["80:80"]), machine("b", ports=["81:80"]))
    first, second = stored(store, "a"), stored(store, "b")
    made = plan(placing(first, 1), placing(second, 1))
    revision = store.commit(made, revision=revision, term=1)
    swapped = [
        create(1, machine("a", ports=["81:80"])).after,
        create(2, machine("b", ports=["80:80"])).after,
    ]
    updates = []
    for item in swapped:
        assert item is not None
        place = placing(item, 1)
        updates.append(Update(node=place.node, spec=place.spec, wire=place.wire, reason="test"))
    store.commit(plan(*updates), revision=revision, term=1)
    claims = store.database.sql("SELECT port, uid FROM port_claim ORDER BY port")
    assert claims == [(80, uid(2)), (81, uid(1))]


def test_forget_removes_a_deleted_object_and_keeps_the_memory_of_its_placements() -> None:
    store, revision = filled(machine("web"))
    item = stored(store, "web")
    forget = Forget(kind="Machine", name=item.name, uid=item.uid, reason="test")
    with pytest.raises(BadPlan):
        store.commit(plan(forget), revision=revision, term=1)
    revision = store.commit(plan(placing(item, 1)), revision=revision, term=1)
    deletion = Change(key=item.key, before=item, after=None)
    revision = store.submit([deletion], revision=revision)
    revision = store.commit(plan(leaving(item)), revision=revision, term=1)
    store.commit(plan(gone(item), forget), revision=revision, term=1)
    assert store.snapshot().objects == {}
    assert store.snapshot().gone == {("node1", item.uid): 1}


def test_a_name_can_be_used_again_with_another_uid() -> None:
    store, revision = filled(machine("web"))
    item = stored(store, "web")
    revision = store.submit([Change(key=item.key, before=item, after=None)], revision=revision)
    forget = Forget(kind="Machine", name=item.name, uid=item.uid, reason="test")
    revision = store.commit(plan(forget), revision=revision, term=1)
    store.submit([create(2, machine("web"))], revision=revision)
    assert stored(store, "web").uid == uid(2)


def test_plans_that_do_not_fit_are_refused_whole() -> None:
    store, revision = filled(machine("a"), machine("b"))
    first, second = stored(store, "a"), stored(store, "b")
    revision = store.commit(plan(placing(first, 1)), revision=revision, term=1)
    for bad in (leaving(second, 2), gone(first), leaving(first, where="node2"), placing(first, 1)):
        with pytest.raises(BadPlan):
            store.commit(plan(placing(second, 1), bad), revision=revision, term=1)
    assert [item.wire.name for item in store.snapshot().placements] == ["a"]


def test_only_the_last_of_gone_placements_is_kept_while_the_machine_exists() -> None:
    store, revision = filled(machine("web"))
    item = stored(store, "web")
    for epoch in range(1, 6):
        for step in (placing(item, epoch), leaving(item, epoch), gone(item, epoch)):
            revision = store.commit(plan(step), revision=revision, term=1)
    assert store.snapshot().gone == {("node1", item.uid): 5}
    assert store.database.sql("SELECT count(*) FROM placement") == [(1,)]


def test_gone_placements_of_forgotten_machines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "REMEMBERED", 3)
    monkeypatch.setattr(operations, "PRUNED_EVERY", 1)
    names = "abcdefgh"
    store, revision = filled(*(machine(name) for name in names))
    kept = stored(store, "a")
    for name in names:
        item = stored(store, name)
        for step in (placing(item, 1), leaving(item)):
            revision = store.commit(plan(step), revision=revision, term=1)
        last = [gone(item)]
        if item is not kept:
            deletion = Change(key=item.key, before=item, after=None)
            revision = store.submit([deletion], revision=revision)
            last.append(Forget(kind="Machine", name=item.name, uid=item.uid, reason="test"))  # type: ignore[arg-type]
        revision = store.commit(plan(*last), revision=revision, term=1)
    assert set(store.snapshot().gone) == {("node1", uid(number)) for number in (1, 6, 7, 8)}
    assert Store(store.database).snapshot() == store.snapshot()


def test_an_empty_plan_writes_nothing_at_all() -> None:
    store, revision = filled(machine("web"))
    writes, snapshot = store.writes, store.snapshot()
    for _ in range(10):
        assert store.commit(plan(), revision=revision, term=1) == revision
        assert store.submit([], revision=revision) == revision
    assert store.writes == writes
    assert store.snapshot() is snapshot


def test_opening_an_existing_store_writes_nothing() -> None:
    store, _ = filled(machine("web"))
    writes = store.writes
    assert Store(store.database).snapshot() == store.snapshot()
    assert store.writes == writes


# -- who may write -----------------------------------------------------------------------------------


def test_a_new_term_deposes_the_old_controller() -> None:
    store, revision = filled(machine("web"))
    item = stored(store, "web")
    successor = Store(store.database)
    assert successor.take_term() == 2
    with pytest.raises(Deposed):
        store.commit(plan(placing(item, 1)), revision=revision, term=1)
    successor.commit(plan(placing(item, 1)), revision=revision, term=2)
    with pytest.raises(Stale):
        store.submit([create(9, machine("late"))], revision=revision)


def test_threads_that_submit_side_by_side_lose_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    each, threads = 25, 4
    errors: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for number in range(start, start + each):
                add(number)
        except BaseException as error:
            errors.append(error)

    def add(number: int) -> None:
        while True:
            try:
                revision = store.snapshot().revision
                store.submit([create(number, machine(f"m{number}"))], revision=revision)
            except Stale:
                continue
            return

    workers = [threading.Thread(target=work, args=(index * each,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not errors
    assert len(store.snapshot().objects) == each * threads
    assert store.snapshot().revision == 1 + each * threads
    assert Store(store.database).snapshot() == store.snapshot()
    store.close()


def test_a_database_in_memory_outlives_its_store() -> None:
    database = Database()
    first = Store(database)
    assert first.take_term() == 1
    first.submit([create(1, machine("web"))], revision=1)
    second = Store(database)
    assert second.take_term() == 2
    assert second.snapshot() == first.snapshot()
