"""No number of the list is without an answer, and no answer is only claimed."""

import re
from pathlib import Path

import pytest

from tests.hostile.numbers import ACCOUNTS, GROUPS, HERE, NotApplicable, There

TESTS = Path(__file__).parents[1]
IDS = re.compile(r"\b([MRI])([0-9]+)-")


def group_of(number: int) -> str:
    return next(name for name, (first, last) in GROUPS.items() if first <= number <= last)


def numbers_here() -> set[tuple[str, int]]:
    """Those that ids of cases begin with: of the tables here, and of those they are made from."""
    tables = [path for path in (TESTS / "hostile").glob("*.py") if path.name != "numbers.py"]
    tables += [TESTS / "manifests" / name for name in ("test_guard.py", "test_validate.py")]
    found = (IDS.findall(path.read_text()) for path in tables)
    return {(group, int(number)) for pairs in found for group, number in pairs}


def test_every_number_is_accounted_for() -> None:
    for first, _ in GROUPS.values():
        assert first in ACCOUNTS
    for number in ACCOUNTS:
        assert group_of(number)


@pytest.mark.parametrize("number", sorted(ACCOUNTS))
def test_what_is_said_of_a_number_is_so(number: int) -> None:
    account = ACCOUNTS[number]
    if account == HERE:
        assert (group_of(number), number) in numbers_here()
    elif isinstance(account, There):
        for test in account.tests:
            file, _, function = test.partition("::")
            assert f"def {function}(" in (TESTS / file).read_text()
    else:
        assert isinstance(account, NotApplicable)
        assert len(account.why) > 20
