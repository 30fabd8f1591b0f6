"""Every file beside this one is a case: `given` a cluster, `expect` this plan, to the letter.

`given.py` says what a file can say and what is understood.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from reconciler.core.check import check
from reconciler.core.reconcile import reconcile
from tests.scenarios.given import snapshot

CASES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


@pytest.mark.parametrize("name", CASES)
def test_scenario(name: str) -> None:
    case = yaml.safe_load(CASES[name].read_text())
    before = snapshot(case["given"])
    plan = reconcile(before)
    assert str(plan) == (case["expect"] or "")
    assert check(before, plan) == ()


@pytest.mark.parametrize("name", CASES)
def test_order_of_what_is_known_does_not_matter(name: str) -> None:
    before = snapshot(yaml.safe_load(CASES[name].read_text())["given"])
    shuffled = replace(
        before,
        objects=dict(reversed(before.objects.items())),
        seen=dict(reversed(before.seen.items())),
        gone=dict(reversed(before.gone.items())),
    )
    assert str(reconcile(shuffled)) == str(reconcile(before))
