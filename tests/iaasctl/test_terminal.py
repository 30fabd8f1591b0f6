"""The program as a process: terminals, pipes that close, Ctrl-C, poor locales, no tracebacks."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.iaasctl.scripted import Server, line, machine
from tests.iaasctl.sockets import serving

PROGRAM = [sys.executable, "-m", "iaasctl.main"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(server: Server, tmp_path: Path) -> Iterator[dict[str, str]]:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o600)
    with serving(server) as url:
        yield {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "IAAS_SERVER": url,
            "IAAS_TOKEN_FILE": str(token),
            "TERM": "xterm",
        }


def on_terminal(
    words: list[str], environment: dict[str, str], answer: bytes = b""
) -> tuple[int, str]:
    """Runs it with a terminal for all three streams, types `answer`, tells code and text."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    os.write(master, answer)
    parts = []
    while select.select([master], [], [], 20)[0]:
        try:
            if not (part := os.read(master, 1 << 16)):
                break
        except OSError:  # the other side has closed
            break
        parts.append(part)
    os.close(master)
    return process.wait(20), b"".join(parts).decode()


@pytest.fixture
def converging(server: Server, manifest: Path) -> Path:
    server.lines = [line("create", "Machine", "web1")]
    server.lists["machines"] = [machine("web1", "pending")]
    server.steps = [
        lambda: server.lists.update(machines=[machine("web1", "starting")]),
        lambda: server.lists.update(machines=[machine("web1")]),
    ]
    return manifest


def test_progress_is_redrawn_on_a_terminal(environment: dict[str, str], converging: Path) -> None:
    code, text = on_terminal(["apply", "-f", str(converging), "--wait"], environment)
    assert code == 0
    assert text.count("\x1b[2A\x1b[J") == 2
    assert "1 of 1 ready" in text
    assert "\x1b[32m+ create machine web1\x1b[0m" in text


@pytest.mark.parametrize("change", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(
    environment: dict[str, str], converging: Path, change: dict[str, str]
) -> None:
    code, text = on_terminal(["apply", "-f", str(converging), "--wait"], environment | change)
    assert code == 0
    assert "\x1b[3" not in text
    if "TERM" in change:
        assert "\x1b" not in text


def many(path: Path) -> list[str]:
    path.write_text("---\n".join(f"kind: Machine\nmetadata: {{name: m{n}}}\n" for n in range(4)))
    return ["delete", "-f", str(path)]


@pytest.mark.parametrize(
    ("answer", "code", "posts"), [(b"n\n", 1, 0), (b"y\n", 0, 1), (b"\x04", 130, 0)]
)
def test_a_person_is_asked_before_many_objects_go(
    environment: dict[str, str],
    server: Server,
    manifest: Path,
    answer: bytes,
    code: int,
    posts: int,
) -> None:
    result, text = on_terminal(many(manifest), environment, answer)
    assert (result, len(server.posted)) == (code, posts)
    assert "delete these 4 objects?" in text


def test_a_script_is_not_asked(environment: dict[str, str], server: Server, manifest: Path) -> None:
    assert run(many(manifest), environment).returncode == 0
    assert len(server.posted) == 1


def run(
    words: list[str], environment: dict[str, str], **options: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words],
        env=environment,
        capture_output="stdout" not in options,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
        **options,
    )


def test_a_closed_pipe_ends_it_quietly(environment: dict[str, str], server: Server) -> None:
    server.lists["machines"] = [machine(f"m{n}") for n in range(5000)]
    shell = f"{' '.join(PROGRAM)} get machines | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", shell], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (141, "")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    "words", ["get machines", "--help", "schema machine", "get machines --watch"]
)
@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "<&-", ">/dev/full"])
def test_closed_and_full_streams_make_no_traceback(
    environment: dict[str, str], server: Server, words: str, redirect: str
) -> None:
    server.lists["machines"] = [machine("web1")]
    shell = f"timeout 5 {' '.join(PROGRAM)} {words} {redirect}"
    done = subprocess.run(
        ["bash", "-c", shell], env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


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
def test_poor_environments(
    environment: dict[str, str], server: Server, manifest: Path, change: dict[str, str]
) -> None:
    server.lines = [line("replace", "Machine", "web1", "größer")]
    server.lists["machines"] = [machine("web1", "failed", reason="größer ü")]
    environment |= change
    for words in (
        ["--help"],
        ["apply", "--help"],
        ["get", "vm"],
        ["apply", "-f", str(manifest)],
        ["nope"],
    ):
        done = run(words, environment)
        assert "Traceback" not in done.stderr
        assert done.returncode == (2 if words == ["nope"] else 0)


def interrupted(words: list[str], environment: dict[str, str], until: str) -> tuple[int, str]:
    """Presses Ctrl-C once this text has come; tells the code and all that was written."""
    process = subprocess.Popen(
        [*PROGRAM, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    text = ""
    while until not in text:
        text += process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=10)
    return process.returncode, text + rest


class Holding(Server):
    """Really holds long polls when there is nothing to tell."""

    def __call__(self, environ: dict[str, object], start: object) -> list[bytes]:
        if "HTTP_PREFER" in environ and not self.steps:
            time.sleep(3)
        return super().__call__(environ, start)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Server:
    return Holding() if "ctrl_c" in request.node.name else Server()


def test_ctrl_c_while_waiting(
    environment: dict[str, str], converging: Path, server: Server
) -> None:
    server.steps.pop()
    code, text = interrupted(["apply", "-f", str(converging), "--wait"], environment, "starting")
    assert code == 130
    assert text.endswith(
        "error: interrupted\n"
        "  why:  applied: 1 to create; the cluster goes on converging\n"
        "  fix:  iaasctl get all --watch follows it\n"
    )


@pytest.mark.parametrize("kind", ["machines", "all"])
def test_ctrl_c_ends_a_watch_without_a_word(
    environment: dict[str, str], server: Server, kind: str
) -> None:
    server.lists["machines"] = [machine("web1")]
    code, text = interrupted(["get", kind, "--watch"], environment, "web1")
    assert (code, text.count("\n")) == (130, 3)
    assert "Traceback" not in text


def test_ctrl_c_while_watching_changes(environment: dict[str, str], server: Server) -> None:
    server.lists["machines"] = [machine("web1"), machine("web2", "starting")]
    server.steps = [
        lambda: server.lists.update(machines=[machine("web1"), machine("web2")]),
        lambda: server.lists.update(machines=[machine("web2")]),
    ]
    words = ["get", "machines", "--watch", "-o", "json"]
    _, text = interrupted(words, environment, '"gone"')
    seen = [json.loads(one) for one in text.splitlines() if one]
    assert [(item["name"], item["state"]) for item in seen] == [
        ("web1", "running"),
        ("web2", "starting"),
        ("web2", "running"),
        ("web1", "gone"),
    ]


def test_ctrl_c_while_watching_events(environment: dict[str, str], server: Server) -> None:
    event = {"at": 1.7e9, "kind": "Machine", "name": "web1", "reason": "Placed", "message": "on n1"}
    server.lists["events"] = [event | {"id": 1}]
    server.steps = [lambda: server.lists["events"].append(event | {"id": 2, "message": "again"})]
    code, text = interrupted(["events", "--watch"], environment, "again")
    assert (code, text.count("Placed")) == (130, 2)
