"""The HTTP transport and the client on it: servers that are away, broken, endless or not ours."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from iaasctl.client import Client
from iaasctl.errors import Failure, NotFound, Unreachable
from iaasctl.settings import Endpoint, Settings
from iaasctl.transport import HttpTransport
from iaasctl.uploads import Bytes
from tests.iaasctl.scripted import Server, machine
from tests.iaasctl.sockets import body, misbehaving, says, serving


def client_of(url: str, limit: int = 1 << 20, patience: float = 5) -> Client:
    port = int(url.rpartition(":")[2])
    settings = Settings(Endpoint("http", "127.0.0.1", port), "secret", "file")
    return Client(HttpTransport(settings, limit), patience)


def test_the_token_is_sent_and_answers_are_read(server: Server) -> None:
    seen: list[str] = []

    def app(environ: dict[str, str], start: object) -> list[bytes]:
        seen.append(environ["HTTP_AUTHORIZATION"])
        return server(environ, start)

    server.lists["machines"] = [machine("web1")]
    with serving(app) as url, client_of(url) as client:
        assert client.object("machines", "web1")["name"] == "web1"
        with pytest.raises(NotFound, match="there is no machine"):
            client.object("machines", "a/../b")
    assert seen == ["Bearer secret"] * 2


def test_one_connection_serves_many_requests() -> None:
    count = 0

    def talk(connection: socket.socket) -> None:
        nonlocal count
        count += 1
        while connection.recv(1 << 16):
            connection.sendall(body(b"[]"))

    with misbehaving(talk) as url, client_of(url) as client:
        for _ in range(5):
            client.objects("nodes")
    assert count == 1


def test_nobody_there_is_told_at_once_and_how_to_start_it() -> None:
    started = time.monotonic()
    with pytest.raises(Unreachable, match="cannot reach the reconciler at http") as caught:
        client_of("http://127.0.0.1:1").objects("nodes")
    assert "iaas-reconciler" in caught.value.fix
    assert time.monotonic() - started < 1


def test_reading_goes_on_over_a_dropped_connection() -> None:
    with misbehaving(says(b""), says(body(b"[]"))) as url:
        assert client_of(url).objects("nodes") == []


def test_reading_goes_on_over_a_server_that_restarts() -> None:
    gone, away = says(b""), says(body(b"{}", "503 Away"))
    with misbehaving(says(body(b"[]")), gone, gone, away, says(body(b"[{}]"))) as url:
        client = client_of(url)
        assert client.objects("nodes") == []
        assert client.objects("nodes") == [{}]


def test_a_change_is_never_sent_twice() -> None:
    with misbehaving(says(b""), says(body(b"{}"))) as url, pytest.raises(Unreachable) as caught:
        client_of(url).apply("set:x", [])
    assert "nobody knows whether it was done" in caught.value.fix


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (body(b"<html>"), "not JSON"),
        (body(b"[" * 200_000), "not JSON"),
        (body(b'{"a": 1}'), "unknown form"),
        (body(b"[3]"), "unknown form"),
        (body(b"[]", "302 Found"), "status 302"),
        (body(b"<h1>nginx</h1>", "404 Not Found"), "status 404"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP server"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500 + b"\r\n", "no HTTP server"),
    ],
)
def test_what_is_no_reconciler_is_told_as_that(raw: bytes, words: str) -> None:
    with misbehaving(says(raw)) as url, pytest.raises(Failure) as caught:
        client_of(url, patience=0).objects("nodes")
    assert words in caught.value.why


def test_an_answer_that_breaks_off_is_an_error() -> None:
    with misbehaving(says(body(b"[", length=100))) as url, pytest.raises(Unreachable) as caught:
        client_of(url, patience=0).objects("nodes")
    assert "before the end" in caught.value.why


def endless(connection: socket.socket) -> None:
    connection.recv(1 << 16)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n[")
    while True:
        connection.sendall(b" " * 65536)


@pytest.mark.parametrize("talk", [endless, says(body(b"[", length=5_000_000_000))])
def test_an_answer_of_5_gb_is_not_read(talk: Callable[[socket.socket], None]) -> None:
    with misbehaving(talk) as url, pytest.raises(Failure, match="is larger than 1 MiB"):
        client_of(url).objects("nodes")


def test_a_refused_upload_tells_why(tmp_path: Path) -> None:
    answer = body(b'{"error": "no_room", "message": "the disk is full"}', "507 X")
    file = tmp_path / "big"
    file.write_bytes(bytes(8 << 20))
    refusal = pytest.raises(Failure, match=r"the disk is full|status 507")
    with misbehaving(says(answer)) as url, refusal:
        client_of(url, patience=0).put_blob(file, Bytes("a" * 64, 8 << 20), 0)
