"""Help: every command has an example, and showing it loads next to nothing."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from iaasctl.main import cli
from tests.iaasctl.conftest import Run

HEAVY = ("http.client", "jsonschema", "rich", "yaml", "tarfile", "ssl", "iaasctl.client")


def paths(group: click.Group, *before: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group, info_name="iaasctl")
    for name in group.list_commands(context):
        yield (*before, name)
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from paths(command, *before, name)


COMMANDS = list(paths(cli))


def test_the_labs_commands_are_there() -> None:
    lab = "node add, node rm, node ls, img add, img rm, img ls, vm add, vm start, vm stop, vm rm, vm ls"
    assert {tuple(words.split()) for words in lab.split(", ")} <= set(COMMANDS)


def test_the_commands_of_the_docs_are_there() -> None:
    text = (Path(__file__).parents[2] / "docs" / "lab.md").read_text()
    named = set(re.findall(r"iaasctl (node|img|vm) ([a-z]+)", text))
    assert named == {path for path in COMMANDS if len(path) == 2}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_an_example(run: Run, path: tuple[str, ...]) -> None:
    shown = run(*path, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert "\n  Example" in shown.out
    assert f"iaasctl {' '.join(path)}" in shown.out.partition("\n  Example")[2]


@pytest.mark.parametrize("group", ["node", "img", "vm"])
def test_a_group_alone_shows_its_help(run: Run, group: str) -> None:
    assert run(group) == run(group, "--help")
    wrong = run(group, "adn")
    assert (wrong.code, wrong.out) == (2, "")
    assert f"iaasctl {group} --help" in wrong.err


@pytest.mark.parametrize("words", ["--help", ""])
def test_help_loads_next_to_nothing(words: str) -> None:
    script = (
        "import sys; from iaasctl.main import main; main(sys.argv[1:]);"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words.split()], capture_output=True, text=True, check=True
    )
    assert "  vm " in done.stdout
    assert done.stderr == "[]\n"
