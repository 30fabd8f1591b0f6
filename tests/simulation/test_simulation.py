"""The simulated cluster keeps its promises, always in the same way, and the simulator would notice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import bugs
from tests.simulation.__main__ import REPLAY, results
from tests.simulation.run import simulate

ROOT = Path(__file__).parents[2]
SEEDS = 240
MOST_SEEDS = 1500
"""So many seeds a deliberate bug may hide from."""


def test_no_invariant_breaks() -> None:
    broken = [
        f"{result.violation}; {REPLAY.format(seed=result.seed)}"
        for result in results(range(SEEDS), os.cpu_count() or 1)
        if result.violation
    ]
    assert broken == []


def test_a_seed_says_everything() -> None:
    """In fresh processes, with other hashes of strings."""

    def log(hashes: str) -> bytes:
        command = [sys.executable, "-m", "tests.simulation", "--seeds=20", "--jobs=1", "--log"]
        ran = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": hashes}, capture_output=True
        )
        text, _, _ = ran.stdout.partition(b"\nschedules ")
        return text

    first = log("1")
    assert len(first) > 100_000
    assert first == log("2")


QUICK = (
    "late-answers-count",
    "ledger-saved-later",
    "no-compare-and-set",
    "silence-is-absence",
    "images-in-use-dropped",
)


@pytest.mark.parametrize("bug", QUICK)
def test_a_deliberate_bug_is_found(bug: str) -> None:
    with bugs.swapped(bug):
        assert any(simulate(seed).violation for seed in range(MOST_SEEDS)), "it was not found"
