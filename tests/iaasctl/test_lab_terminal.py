"""The lab's commands as processes against the real API: pipes, Ctrl-C, poor environments."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from iaasctl.client import Client
from tests.iaasctl.sockets import misbehaving, says, serving
from tests.iaasctl.test_terminal import PROGRAM, ROOT, on_terminal
from tests.iaasctl.wsgi import WsgiTransport
from tests.reconciler.world import ADMIN, World

Environment = dict[str, str]
REGISTRY = f"nginx@sha256:{'a' * 64}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture
def client(world: World) -> Client:
    client = Client(WsgiTransport(world.app, ADMIN))
    client.add_node("n1", "127.0.0.1:7701")
    client.add_image("nginx", registry=REGISTRY)
    return client


@pytest.fixture
def environment(world: World, tmp_path: Path) -> Iterator[Environment]:
    token = tmp_path / "token"
    token.write_text(ADMIN)
    token.chmod(0o600)
    with serving(world.app) as url:
        yield {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "IAAS_SERVER": url,
            "IAAS_TOKEN_FILE": str(token),
            "TERM": "xterm",
        }


def shell(text: str, environment: Environment) -> subprocess.CompletedProcess[str]:
    """`iaasctl` in the text is the program."""
    return subprocess.run(
        ["bash", "-c", text.replace("iaasctl", " ".join(PROGRAM))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_a_script_uses_the_id(environment: Environment, client: Client) -> None:
    done = shell(
        "set -e; ID=$(iaasctl vm add nginx -n n1 -p 8080:80 2>/dev/null); iaasctl vm stop $ID;"
        " iaasctl vm stop ${ID:0:8}; iaasctl vm ls -o name; iaasctl vm rm $ID",
        environment,
    )
    assert (done.returncode, done.stdout.partition("-")[0]) == (0, "machine/nginx"), done
    assert client.machines()[0]["state"] == "deleting"


def test_a_closed_pipe_ends_a_list_quietly(environment: Environment, client: Client) -> None:
    for number in range(300):
        client.add_machine("nginx", name=f"a-name-that-is-rather-long-to-fill-the-pipe-{number}")
    done = shell("iaasctl vm ls -o json | head -n 1; exit ${PIPESTATUS[0]}", environment)
    assert (done.returncode, done.stdout, done.stderr) == (141, "[\n", "")


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("words", ["vm add nginx", "vm ls", "img rm none", "completion bash", "vm"])
@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "<&-", ">/dev/full"])
def test_closed_and_full_streams_make_no_traceback(
    environment: Environment, words: str, redirect: str
) -> None:
    done = shell(f"iaasctl {words} {redirect}", environment)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode in (0, 1, 4), done


@pytest.mark.parametrize(
    "change",
    [
        {"LANG": "C", "LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        {"COLUMNS": "0"},
        {"COLUMNS": "-7", "TERM": ""},
        {"HOME": "/nonexistent"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("client")
def test_poor_environments(environment: Environment, change: Environment) -> None:
    environment |= change
    for words, code in (
        ("vm --help", 0),
        ("vm add --help", 0),
        ("vm ls", 0),
        ("vm add nginx -m größer", 2),
        ("img add x größer.tar", 1),
        ("node frob", 2),
    ):
        done = shell(f"iaasctl {words}", environment)
        assert "Traceback" not in done.stderr
        assert done.returncode == code, done


def test_on_a_terminal_too(environment: Environment, client: Client) -> None:
    code, text = on_terminal(["vm", "add", "nginx", "--name", "web1"], environment)
    (machine,) = client.machines()
    assert (code, text.splitlines()) == (0, [machine["id"], "machine/web1 pending"])
    code, text = on_terminal(["vm", "ls"], environment)
    assert (code, machine["id"][:8] in text) == (0, True)


def test_ctrl_c_while_waiting_for_a_machine(environment: Environment, client: Client) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "vm", "add", "nginx", "--name", "web1", "--wait"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    id_ = process.stdout.readline().strip()
    assert process.stderr.readline() == "machine/web1 pending: not placed yet\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert err.startswith(
        "error: interrupted\n  why:  added web1; the cluster goes on converging\n"
    )
    assert client.machines(id=id_)[0]["name"] == "web1"


def test_a_server_that_hangs_up_is_told_and_what_to_do(environment: Environment) -> None:
    with misbehaving(says(b"")) as url:
        environment["IAAS_SERVER"] = url
        done = shell("iaasctl vm add nginx", environment)
    assert (done.returncode, done.stdout) == (7, "")
    assert "nobody knows whether it was done: `iaasctl get machines` shows it" in done.stderr
