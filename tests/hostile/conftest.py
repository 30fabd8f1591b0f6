"""One running program for all hostile inputs, and what they cost it, told at the end."""

from collections.abc import Iterator

import pytest
import trustme

from tests.hostile.program import MOST_GROWTH, TALLY, Kept, Program, running
from tests.reconciler.mirror import Mirror, serving, trust

SEEDS = 20
"""Honest requests before memory is measured: what a program takes once is no growth."""


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Program]:
    root = tmp_path_factory.mktemp("hostile")
    (root / "sources").mkdir()
    options = (f"--image-source={root}/sources", "--trust-url-host=127.0.0.1")
    with running(root, *options, SSL_CERT_FILE=str(trust(authority, root))) as program:
        for _ in range(SEEDS):
            assert program.ask("POST", "/iaas/apply?dryRun=true", {"documents": [1]}).status == 422
            assert program.ask("GET", "/iaas/machines").status == 200
        before = program.memory
        yield program
        TALLY.growth["iaas-reconciler"] = growth = program.memory - before
        assert "Traceback" not in (root / "log").read_text()
        assert growth < MOST_GROWTH


@pytest.fixture
def before(program: Program) -> Kept:
    """What it keeps, before it is asked for something that it must refuse."""
    return program.kept()


@pytest.fixture(scope="session")
def mirror(authority: trustme.CA) -> Iterator[Mirror]:
    with serving(authority, "127.0.0.1") as mirror:
        yield mirror


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY.cases:
        terminalreporter.section("hostile inputs")
        for line in TALLY.lines():
            terminalreporter.write_line(line)
