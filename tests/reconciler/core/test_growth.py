"""What grows with the cluster: twice as large a one costs about twice as much, not four times."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from reconciler.core.claims import refusals
from reconciler.core.model import Snapshot
from reconciler.core.view import views
from tests.scenarios.given import snapshot

FEW = 60


def cluster(count: int, *, pinned: bool = True) -> Snapshot:
    """So many nodes, images and machines with ports."""
    numbers = range(count)
    machines = {
        f"m{it}": {"image": f"i{it}", "ports": [f"{20000 + it}:80"]}
        | ({"node": f"n{it}"} if pinned else {})
        for it in numbers
    }
    return snapshot(
        {
            "nodes": {f"n{it}": {} for it in numbers},
            "images": {f"i{it}": {} for it in numbers},
            "machines": machines,
            "placements": {f"m{it}@1": f"n{it}" for it in numbers},
        }
    )


def steps(work: Callable[[], Any]) -> int:
    """Lines of ours and of the standard library that are run: the same on every machine."""
    count = 0

    def trace(*_: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def growth(work: Callable[[int], Callable[[], Any]]) -> float:
    work(2)()  # what is made once for ever
    return steps(work(2 * FEW)) / steps(work(FEW))


@pytest.mark.parametrize("kind", ["Node", "Image", "Machine"])
def test_showing_all_objects_of_a_kind(kind: str) -> None:
    def work(count: int) -> Callable[[], Any]:
        given = cluster(count)
        return lambda: views(given, kind, secrets=True)

    assert growth(work) < 2.5


@pytest.mark.parametrize("pinned", [True, False])
def test_ports_of_many_new_machines(pinned: bool) -> None:
    def work(count: int) -> Callable[[], Any]:
        after = cluster(count, pinned=pinned)
        objects = {key: item for key, item in after.objects.items() if key[0] != "Machine"}
        before = Snapshot(revision=1, cluster=after.cluster, objects=objects)
        result = Snapshot(revision=1, cluster=after.cluster, objects=after.objects)
        touched = set(after.objects) - set(objects)
        return lambda: [*refusals(before, result, touched)]

    assert growth(work) < 2.5
