"""The program itself: where it listens, what it refuses, its health, and its end among slow clients."""

import json
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
import trustme

from tests.reconciler.test_slow_clients import HALF, MEASURED, dribbling, heard, times_of, told
from tests.reconciler.test_tls import files
from tests.reconciler.world import node

PROGRAM = Path(sys.executable).with_name("iaas-reconciler")
LISTEN = ("--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0")


def command(where: Path, *options: str) -> list[str]:
    """With the few descriptors that a process usually begins with."""
    own = (f"--state={where}/r", f"--images={where}/i", f"--agent-token-file={where}/agent.token")
    return ["prlimit", "--nofile=256:16384", "--", str(PROGRAM), *own, *options]


@contextmanager
def running(where: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The process, and where its API and its health are."""
    process = subprocess.Popen(
        command(where, *LISTEN, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            ready, health = process.stdout.readline().split(), process.stdout.readline().split()
            assert (ready[0], health[0]) == ("ready", "health")
            yield process, ready[1], health[1]
        finally:
            process.kill()


def refused(where: Path, *options: str, code: int) -> str:
    """What it says instead of starting."""
    ended = subprocess.run(
        command(where, *options), capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout) == (code, "")
    assert "Traceback" not in ended.stderr
    return ended.stderr


def ask(url: str, method: str = "GET") -> tuple[int, dict[str, str]]:
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_health_and_the_end_among_a_thousand_half_open_connections(tmp_path: Path) -> None:
    with running(tmp_path) as (process, api, health), ExitStack() as stack:

        def half_open(url: str, count: int) -> list[socket.socket]:
            where = urlsplit(url)
            return [
                stack.enter_context(socket.create_connection((where.hostname, where.port)))
                for _ in range(count)
            ]

        def measured() -> dict[str, list[float]]:
            wheres = {"API": urlsplit(api), "health": urlsplit(health)}
            return {
                name: times_of((where.hostname or "", where.port or 0), MEASURED)
                for name, where in wheres.items()
            }

        alone = measured()
        half = half_open(api, 900)
        for connection in half:
            connection.sendall(HALF)
        slow = half_open(api, 100) + half_open(health, 200)
        for connection in slow:
            connection.sendall(HALF)
        stack.enter_context(dribbling(slow, 1))
        among = measured()
        for name, times in among.items():
            print(f"{name}: alone {told(alone[name])}, among 1,000 {told(times)} (min/median/p99)")
            assert times[-1] < 1
        assert sum(not heard(connection) for connection in half) > 800, "they did not last"
        for path in ("/health", "/healthz"):
            assert ask(health.removesuffix("/health") + path) == (200, {"status": "ok"})
        assert ask(api + "/health")[0] == 200
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert time.monotonic() - start < 10


def test_the_health_listener_has_nothing_else(tmp_path: Path) -> None:
    with running(tmp_path) as (_, _, health):
        root = health.removesuffix("/health")
        for method, path in (
            ("GET", "/"),
            ("GET", "/iaas/machines"),
            ("GET", "/health/x"),
            ("POST", "/health"),
        ):
            status, body = ask(root + path, method)
            assert (status, body["error"]) == (404, "not_found")


def test_health_says_when_it_failed(tmp_path: Path) -> None:
    """Every write fails: nothing can be stored any more."""
    with running(tmp_path) as (process, api, health):
        assert ask(health)[0] == 200
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
        token = (tmp_path / "r" / "token").read_text().strip()
        request = urllib.request.Request(
            api + "/iaas/apply",
            data=json.dumps({"documents": [node("n1")]}).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with pytest.raises(HTTPError) as caught, urllib.request.urlopen(request, timeout=20):
            pass
        caught.value.close()
        assert caught.value.code == 503
        assert ask(health) == ask(api + "/health") == (503, {"status": "failed"})


def test_https_beyond_loopback(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate, key = files(tmp_path, authority.issue_cert("127.0.0.1"))
    tls = (f"--tls-cert={certificate}", f"--tls-key={key}")
    with running(tmp_path, *tls, "--listen=0.0.0.0:0") as (process, api, _):
        assert api.startswith("https://0.0.0.0:")
        context = ssl.create_default_context()
        authority.configure_trust(context)
        url = api.replace("0.0.0.0", "127.0.0.1") + "/health"
        with urllib.request.urlopen(url, context=context, timeout=20) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--listen=0.0.0.0:7799",), ("--listen", "loopback", "--tls-cert", "ssh -L")),
        (("--listen=[::]:7799",), ("--listen", "loopback")),
        (("--listen=iaas.example:7799",), ("--listen", "loopback")),
        (("--listen=127.0.0.1:66000",), ("not ADDR:PORT",)),
        (("--listen=::1:7799",), ("not ADDR:PORT",)),
        (("--listen=127.0.0.1:0", "--tls-cert=x"), ("--tls-key", "both or none")),
        (("--listen=127.0.0.1:0", "--tls-key=x"), ("--tls-cert", "both or none")),
        (("--health-listen=7699",), ("--health-listen", "not ADDR:PORT")),
    ],
    ids=lambda value: value[0] if value[0].startswith("--") else "",
)
def test_what_is_not_well_said(
    tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    said = " ".join(refused(tmp_path, *options, code=2).split())
    for word in words:
        assert word in said


def test_what_cannot_be_had(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        free = "--listen=127.0.0.1:0"
        for options in ((free, f"--health-listen={where}"), (f"--listen={where}", LISTEN[1])):
            assert f"cannot listen on {where}: is it in use" in refused(tmp_path, *options, code=1)
    tls = (f"--tls-cert={tmp_path}/no.pem", f"--tls-key={tmp_path}/no.pem")
    said = refused(tmp_path, *LISTEN, *tls, code=1)
    assert said == f"iaas-reconciler: cannot read {tmp_path}/no.pem: No such file or directory\n"
