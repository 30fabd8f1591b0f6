"""That the benchmark of ports measures something, and says so when it does not; not how much."""

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.bench.ports import MEASURES, lines
from tests.bench.standin import standing_in
from tests.bench.ways import DIRECT, Group, Row

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces take root")


@pytest.fixture(scope="module")
def group() -> Iterator[Group]:
    """pwncat is left out: it takes seconds."""
    with standing_in() as found:
        yield replace(found, ways=[it for it in found.ways if it.publisher != "pwncat"])


def test_every_way_is_measured(group: Group) -> None:
    rows = group.measured(1, 0.05)

    assert {it.way.publisher for it in rows} == {DIRECT, "nftables"}
    assert all(min(it.values[name]) > 0 for it in rows for name in MEASURES)
    assert not any(it.mixed for it in rows)
    assert all(it.right > it.lost for it in rows)
    assert len(list(lines(rows))) == len(rows)


def test_what_is_not_served_counts_as_lost(group: Group) -> None:
    nowhere = Row(replace(group.ways[0], port=9))
    for name in MEASURES:
        nowhere.measure(name, 0.05)
    assert nowhere.lost > nowhere.right == 0
    assert not nowhere.answers()
