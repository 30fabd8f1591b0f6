"""Completion as the shells ask for it: what is offered, and that nothing else is ever printed."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from iaasctl.client import Client
from iaasctl.main import main
from iaasctl.session import Session
from tests.iaasctl.scripted import Server, image, machine, node
from tests.iaasctl.sockets import misbehaving, says, serving
from tests.iaasctl.test_terminal import PROGRAM, ROOT
from tests.iaasctl.wsgi import WsgiTransport

Complete = Callable[..., list[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o600)
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "IAAS_TOKEN_FILE": str(token),
    }


def asked(line: str) -> dict[str, str]:
    """What bash tells of a line."""
    return {
        "_IAASCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }


def ask(line: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        PROGRAM,
        env=environment | asked(line),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


@pytest.fixture
def complete(
    server: Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Complete:
    """The words offered for a line, the last of which is begun."""
    server.lists |= {
        "nodes": [node("n1"), node("n2", "unavailable")],
        "images": [image("web")],
        "machines": [machine("web1", id="3f2a9c41"), machine("db", "stopped", id="77777777")],
    }

    def go(line: str) -> list[str]:
        for name, value in asked(line).items():
            monkeypatch.setenv(name, value)
        with suppress(SystemExit):
            main([], Session(lambda *_: Client(WsgiTransport(server))))
        out, err = capfd.readouterr()
        assert err == ""
        return [text.partition(",")[2] for text in out.splitlines() if text]

    return go


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("iaasctl v", ["vm", "version"]),
        ("iaasctl vm ", ["add", "ls", "rm", "start", "stop"]),
        ("iaasctl vm rm ", ["web1", "db"]),
        ("iaasctl vm stop 3", ["3f2a9c41"]),
        ("iaasctl vm start web1 d", ["db"]),
        ("iaasctl vm add w", ["web"]),
        ("iaasctl vm add web -n n", ["n1", "n2"]),
        ("iaasctl vm add web -t ", ["docker", "libvirt"]),
        ("iaasctl node rm ", ["n1", "n2"]),
        ("iaasctl img rm ", ["web"]),
        ("iaasctl vm ls s", ["state=running", "state=stopped"]),
        ("iaasctl vm ls state = r", ["running"]),  # as bash cuts it
        ("iaasctl vm ls state=running no", ["node=n1"]),
        ("iaasctl get no", ["node", "nodes"]),
        ("iaasctl get nodes n1 state=u", ["state=unavailable"]),
        ("iaasctl describe vm w", ["web1"]),
        ("iaasctl delete machine 7", ["77777777"]),
        ("iaasctl completion f", ["fish"]),
        ("iaasctl vm add web -n n1 --w", ["--wait"]),
        ("iaasctl get nonsense x", []),
        ("iaasctl nonsense x", []),
        ("iaasctl vm nonsense x", []),
    ],
)
def test_what_is_offered(complete: Complete, line: str, offered: list[str]) -> None:
    assert complete(line) == offered


@pytest.mark.parametrize("line", ["apply -f ", "plan -f x -f ", "img add x ", "--token-file "])
def test_files_are_left_to_the_shell(environment: dict[str, str], line: str) -> None:
    assert ask(f"iaasctl {line}", environment).stdout.strip() == "file,"


def test_the_server_may_be_named_on_the_line(server: Server, environment: dict[str, str]) -> None:
    server.lists["machines"] = [machine("web1")]
    with serving(server) as url:
        for line in (f"iaasctl --server {url} vm rm ", f"iaasctl vm rm --server {url} "):
            assert ask(line, environment).stdout.split() == ["plain,web1"]


def test_trouble_is_silent(environment: dict[str, str]) -> None:
    for raw in (b"", b"nonsense"):
        with misbehaving(says(raw)) as url:
            done = ask("iaasctl vm rm ", environment | {"IAAS_SERVER": url})
        assert (done.stdout.strip(), done.stderr) == ("", "")
    environment["IAAS_TOKEN_FILE"] = "/nonexistent"
    done = ask("iaasctl vm rm ", environment)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_a_server_that_does_not_answer_is_not_waited_for(environment: dict[str, str]) -> None:
    over = threading.Event()
    with misbehaving(lambda _: over.wait(30)) as url:
        started = time.monotonic()
        done = ask("iaasctl vm rm ", environment | {"IAAS_SERVER": url})
        seconds = time.monotonic() - started
        over.set()
    assert (done.stdout.strip(), done.stderr) == ("", "")
    assert seconds < 15


def test_names_that_could_harm_a_terminal_are_left_out(complete: Complete, server: Server) -> None:
    server.lists["machines"] = [machine("\x1b[2J"), machine("a\nb"), machine("fine")]
    assert complete("iaasctl vm rm ") == ["fine"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed_for_each_shell(environment: dict[str, str], shell: str) -> None:
    done = subprocess.run(
        [*PROGRAM, "completion", shell],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "_IAASCTL_COMPLETE" in done.stdout
    if shutil.which(shell):
        checked = subprocess.run(
            [shell, "-n"], input=done.stdout, text=True, capture_output=True, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, "")


def test_in_a_real_bash(server: Server, environment: dict[str, str]) -> None:
    server.lists["machines"] = [machine("web1"), machine("web2")]
    script = (
        f'PATH="{Path(sys.executable).parent}:$PATH"; source <(iaasctl completion bash); '
        "COMP_WORDS=(iaasctl vm rm w); COMP_CWORD=3; compopt() { :; }; "
        '_iaasctl_completion iaasctl; echo "${COMPREPLY[*]}"'
    )
    with serving(server) as url:
        done = subprocess.run(
            ["bash", "--norc", "-c", script],
            env=environment | {"IAAS_SERVER": url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.stdout, done.stderr) == ("web1 web2\n", "")
