"""The audit in the store: there with its change or not at all, and bounded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.audit import Entry
from reconciler.store import Stale, Store, StoreError, audit
from tests.reconciler.world import create, machine


def entry(name: str, **changes: Any) -> Entry:
    fields = {"at": 1.0, "who": "admin 01234567", "peer": "127.0.0.1", "method": "POST"}
    fields |= {"path": "/iaas/apply", "action": "create", "status": 200, "message": name}
    return Entry(**(fields | changes))


def refusal(name: str) -> Entry:
    return entry(name, action="refuse", status=403, error="forbidden")


def messages(store: Store) -> list[str]:
    return [item.entry.message for item in store.audited()]


def test_an_entry_comes_back_as_it_went_in_with_the_revision_of_its_change(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    written = entry("a", objects=("machine/web", "node/\u00e4"), times=3)
    revision = store.submit([create(1, machine("web"))], revision=1, also=[written])
    store.record([refusal("b")])
    store.close()
    again = Store(tmp_path / "db")
    first, second = again.audited()
    assert (first.entry, first.revision) == (written, revision)
    assert (second.entry, second.revision) == (refusal("b"), None)
    assert again.audited(since=first.id) == (second,)
    assert again.audited(limit=1) == (second,)
    assert again.audited(since=0, limit=1) == (first,)
    again.close()


def test_neither_the_change_nor_its_entry_is_there_without_the_other(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    before = store.snapshot()
    broken = entry("a", message=object())  # the entry cannot be written
    with pytest.raises(StoreError):
        store.submit([create(1, machine("web"))], revision=1, also=[broken])
    twice = [create(1, machine("web")), create(2, machine("web"))]  # the change cannot
    with pytest.raises(StoreError):
        store.submit(twice, revision=1, also=[entry("a")])
    with pytest.raises(Stale):
        store.submit([create(1, machine("web"))], revision=7, also=[entry("a")])
    with pytest.raises(Stale):
        store.submit([], revision=7, also=[entry("a")])
    assert (store.snapshot(), store.audited()) == (before, ())
    store.close()


def test_without_a_change_the_revision_stays() -> None:
    store = Store()
    assert store.submit([], revision=1, also=[entry("a")]) == 1
    assert messages(store) == ["a"]


def test_refusals_never_displace_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "KEPT", 10)
    monkeypatch.setattr(audit, "PRUNED_EVERY", 4)
    store = Store()
    store.record([entry(f"done {number}") for number in range(3)])
    for number in range(100):
        store.record([refusal(f"refused {number}")])
    done, refused = messages(store)[:3], messages(store)[3:]
    assert done == ["done 0", "done 1", "done 2"]
    assert 10 <= len(refused) < 14
    assert refused[-1] == "refused 99"
    store.record([entry(f"more {number}") for number in range(50)])
    assert messages(store)[-10:] == [f"more {number}" for number in range(40, 50)]
    assert len(messages(store)) < 28
    last = store.audited()[-1].id
    store.record([entry("the next")])
    assert store.audited()[-1].id == last + 1


WRITER = """
import sys
from reconciler.store import Store
from tests.reconciler.test_store_audit import entry
from tests.reconciler.world import create, machine
store = Store(sys.argv[1])
number = revision = store.snapshot().revision
while True:
    number += 1
    change, written = create(number, machine(f"m{number}")), entry(f"m{number}")
    revision = store.submit([change], revision=revision, also=[written])
    print(number, flush=True)
"""


def test_kill_9_leaves_no_change_without_its_entry_and_no_entry_without_its_change(
    tmp_path: Path,
) -> None:
    for round_ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "db")],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as process:
            assert process.stdout is not None
            for _ in range(10 + 7 * round_):
                last = process.stdout.readline().strip()
            process.kill()
        store = Store(tmp_path / "db")
        names = {str(name) for _, name in store.snapshot().objects}
        assert f"m{last}" in names
        assert names == set(messages(store))
        store.close()
