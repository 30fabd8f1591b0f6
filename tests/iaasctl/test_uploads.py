"""Uploads of image bytes: what is sent when the connection breaks, the server restarts, the file
changes. A server of the protocol on a real socket that breaks off where a test says."""

import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from iaasctl import uploads
from iaasctl.client import Client
from iaasctl.errors import Failure, Invalid, Rejected, Unreachable
from iaasctl.settings import Endpoint, Settings
from iaasctl.transport import HttpTransport
from iaasctl.uploads import hashed
from tests.iaasctl.test_terminal import PROGRAM, ROOT

MIB = 1 << 20
SIZE = 24 * MIB


class Blobs:
    """Keeps what arrives of one blob. `breaks`: at these sizes it calls `hook` and hangs up, once
    each; it does not hang up without `hangs_up`."""

    def __init__(self, *breaks: int) -> None:
        self.data = bytearray()
        self.whole = False
        self.hangs_up = True
        self.breaks = list(breaks)
        self.heads = 0
        self.puts: list[tuple[int, int]] = []
        self.refuse: list[bytes] = []
        self.posts: list[bytes] = []
        self.hook: Callable[[], None] = lambda: None
        self.lock = threading.Lock()

    def talk(self, connection: socket.socket) -> None:
        """One connection, any number of requests."""
        stream = connection.makefile("rb")
        while line := stream.readline():
            method = line.split()[0].decode()
            headers = dict(self._headers(stream))
            if not self._answer(connection, stream, method, line, headers):
                return

    def _headers(self, stream: object) -> Iterator[tuple[str, str]]:
        while line := stream.readline().strip():  # type: ignore[attr-defined]
            name, _, value = line.decode().partition(":")
            yield name.lower(), value.strip()

    def _answer(self, connection, stream, method, line, headers) -> bool:  # type: ignore[no-untyped-def]
        if method == "HEAD":
            self.heads += 1
            status = "200 OK" if self.whole else f"404 No\r\nUpload-Offset: {len(self.data)}"
            connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
            return True
        if method == "PUT":
            return self._put(connection, stream, headers)
        length = int(headers.get("content-length", 0))
        body = stream.read(length)
        if method == "POST":
            self.posts.append(body)
            say(connection, "201 Created", b'{"name": "big", "state": "ready", "format": "raw"}')
        else:
            say(connection, "200 OK", b"[]")
        return True

    def _put(self, connection, stream, headers) -> bool:  # type: ignore[no-untyped-def]
        at, length = int(headers["upload-offset"]), int(headers["content-length"])
        self.puts.append((at, length))
        assert int(headers["upload-length"]) == at + length
        if self.refuse:
            connection.sendall(self.refuse.pop(0))
            return False
        if at != len(self.data):
            text = f"409 Conflict\r\nUpload-Offset: {len(self.data)}"
            say(connection, text, b'{"error": "offset", "message": "another offset"}')
            return False
        while len(self.data) < at + length:
            stop = self.breaks[0] if self.breaks else at + length
            piece = stream.read(min(64 << 10, stop - len(self.data)))
            self.data += piece
            if self.breaks and len(self.data) >= self.breaks[0]:
                self.breaks.pop(0)
                self.hook()
                if self.hangs_up:
                    return False
            if not piece:
                return False
        self.whole = True
        say(connection, "201 Created", b"{}")
        return True


def say(connection: socket.socket, status: str, body: bytes) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)


@contextmanager
def listening(blobs: Blobs, context: ssl.SSLContext | None = None, port: int = 0) -> Iterator[int]:
    """Its port."""

    def serve(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) if context else connection as it:
                blobs.talk(it)
        except OSError:
            pass

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def client_of(port: int, patience: float = 10) -> Client:
    settings = Settings(Endpoint("http", "127.0.0.1", port), "secret", "file")
    return Client(HttpTransport(settings), patience)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.raw"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PAUSES", (0.01, 0.02, 0.03))


def put(client: Client, path: Path) -> None:
    found = hashed(path)
    at = client.blob_offset(found.sha256)
    if at is not None:
        client.put_blob(path, found, at)


def test_an_upload_goes_on_where_the_connection_broke(big: Path) -> None:
    blobs = Blobs(5 * MIB, 12 * MIB, 12 * MIB + 1)
    with listening(blobs) as port:
        put(client_of(port), big)
    assert bytes(blobs.data) == big.read_bytes()
    assert [at for at, _ in blobs.puts] == [0, 5 * MIB, 12 * MIB, 12 * MIB + 1]
    assert sum(length for _, length in blobs.puts[-1:]) == SIZE - 12 * MIB - 1


def test_what_the_server_has_is_not_sent(big: Path) -> None:
    blobs = Blobs()
    blobs.data += big.read_bytes()[: 20 * MIB]
    with listening(blobs) as port, client_of(port) as client:
        put(client, big)
        put(client, big)
    assert blobs.puts == [(20 * MIB, 4 * MIB)]
    assert bytes(blobs.data) == big.read_bytes()


def test_all_bytes_but_no_verdict_asks_for_the_verdict(big: Path) -> None:
    blobs = Blobs()
    blobs.data += big.read_bytes()
    with listening(blobs) as port:
        put(client_of(port), big)
    assert blobs.puts == [(SIZE, 0)]


def test_an_upload_survives_a_restart_of_the_server(big: Path) -> None:
    """Nobody listens for a while after the break."""
    blobs = Blobs(9 * MIB)
    broken, down = threading.Event(), threading.Event()
    blobs.hook = lambda: (broken.set(), down.wait(10))  # type: ignore[assignment]
    trouble: list[Exception] = []

    def upload(port: int) -> None:
        try:
            put(client_of(port), big)
        except Exception as error:
            trouble.append(error)

    with listening(blobs) as port:
        thread = threading.Thread(target=upload, args=(port,))
        thread.start()
        assert broken.wait(10)
    down.set()
    thread.join(0.5)
    assert thread.is_alive(), trouble
    with listening(blobs, port=port):
        thread.join(10)
    assert trouble == []
    assert bytes(blobs.data) == big.read_bytes()


def test_another_offset_is_taken_from_the_answer(big: Path) -> None:
    """Somebody else sent the same bytes meanwhile."""
    blobs = Blobs()
    blobs.data += big.read_bytes()[:MIB]
    with listening(blobs) as port:
        client_of(port).put_blob(big, hashed(big), 0)
    assert [at for at, _ in blobs.puts] == [0, MIB]
    assert bytes(blobs.data) == big.read_bytes()


def test_more_to_come_is_sent(big: Path) -> None:
    blobs = Blobs()
    blobs.refuse = [b"HTTP/1.1 202 Accepted\r\nUpload-Offset: 0\r\nContent-Length: 0\r\n\r\n"] * 2
    with listening(blobs) as port:
        put(client_of(port), big)
    assert len(blobs.puts) == 3


def test_a_server_that_never_takes_more_is_given_up(big: Path) -> None:
    blobs = Blobs()
    blobs.refuse = [b"HTTP/1.1 202 Accepted\r\nUpload-Offset: 0\r\nContent-Length: 0\r\n\r\n"] * 99
    with listening(blobs) as port, pytest.raises(Failure) as caught:
        put(client_of(port), big)
    assert caught.value.why == "it takes no more bytes" or "broke off" in caught.value.fix
    assert len(blobs.puts) <= 5


def test_tries_that_bring_nothing_end_and_say_how_to_go_on(big: Path) -> None:
    blobs = Blobs()
    blobs.refuse = [b""] * 100
    with listening(blobs) as port, pytest.raises(Unreachable) as caught:
        put(client_of(port), big)
    assert "goes on where it broke off" in caught.value.fix
    assert len(blobs.puts) == 4


def test_wrong_bytes_are_told_and_not_sent_again(big: Path) -> None:
    blobs = Blobs()
    text = b'{"error": "bad_bytes", "message": "the bytes have sha256 b, not a"}'
    head = f"HTTP/1.1 422 No\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    big.write_bytes(b"small")  # so that the answer is not lost with a body that nobody reads
    blobs.refuse = [head.encode() + text]
    with listening(blobs) as port, pytest.raises(Rejected, match="the bytes have sha256 b"):
        put(client_of(port), big)
    assert len(blobs.puts) == 1


@pytest.mark.parametrize("change", ["shorter", "longer"])
def test_a_file_that_changes_is_told(big: Path, change: str) -> None:
    found = hashed(big)
    with big.open("r+b") as file:
        file.truncate(SIZE + (-MIB if change == "shorter" else MIB))
    with listening(Blobs()) as port, pytest.raises(Failure, match="changed while it was read"):
        client_of(port).put_blob(big, found, 0)


def test_a_file_that_shrinks_under_way_does_not_hang(big: Path) -> None:
    blobs = Blobs(4 * MIB)
    blobs.hangs_up = False
    blobs.hook = lambda: os.truncate(big, 3 * MIB)
    with listening(blobs) as port, pytest.raises(Failure, match="changed while it was read"):
        put(client_of(port), big)


def test_nobody_there_is_told_at_once(big: Path) -> None:
    with pytest.raises(Unreachable) as caught:
        put(client_of(1), big)
    assert "iaas-reconciler" in caught.value.fix


def test_no_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(Failure, match="cannot read"):
            hashed(path)


# -- the program ---------------------------------------------------------------------------------


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


def test_ctrl_c_during_an_upload_and_the_same_command_again(
    big: Path, environment: dict[str, str]
) -> None:
    blobs = Blobs(10 * MIB)
    half, go_on = threading.Event(), threading.Event()
    blobs.hook = lambda: (half.set(), go_on.wait(20))  # type: ignore[assignment]
    words = [*PROGRAM, "img", "add", "big", str(big)]
    with listening(blobs) as port:
        environment["IAAS_SERVER"] = f"http://127.0.0.1:{port}"
        process = subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert half.wait(20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        go_on.set()
        assert (process.returncode, out) == (130, "")
        assert err == (
            "error: interrupted\n"
            "  why:  nothing was added\n"
            "  fix:  run the same command again: it goes on where it broke off\n"
        )
        assert blobs.posts == []
        again = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr == "image/big ready: raw\n"
    assert blobs.puts[-1] == (10 * MIB, SIZE - 10 * MIB)
    assert hashlib.sha256(blobs.data).hexdigest().encode() in blobs.posts[0]


def test_over_https_from_a_remote_machine_with_a_break(
    big: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    blobs = Blobs(7 * MIB)
    with listening(blobs, context) as port:
        environment |= {
            "IAAS_SERVER": f"https://localhost:{port}",
            "IAAS_CA": str(tmp_path / "ca.pem"),
        }
        words = [sys.executable, "-m", "iaasctl.main", "img", "add", "big", str(big)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        del environment["IAAS_CA"]
        other = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "image/big ready: raw\n")
    assert bytes(blobs.data) == big.read_bytes()
    assert [at for at, _ in blobs.puts] == [0, 7 * MIB]
    assert (
        other.returncode,
        "is not trusted" in other.stderr,
        "IAAS_CA" in other.stderr,
    ) == (
        7,
        True,
        True,
    )


def test_a_file_of_another_format_is_not_sent(big: Path, tmp_path: Path) -> None:
    blobs = Blobs()
    disk = big.rename(tmp_path / "disk.img")
    with listening(blobs) as port, pytest.raises(Invalid, match="is not a qcow2") as caught:
        client_of(port).add_image("disk", disk)
    assert "--format" in caught.value.fix
    assert blobs.heads == 0
