"""TLS over real sockets: what is served, who is refused, and that handshakes take no worker."""

import hashlib
import http.client
import shutil
import socket
import ssl
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from reconciler.api import Server
from reconciler.api.stream import Limits
from reconciler.api.tls import TlsError, server_context
from tests.reconciler.world import ADMIN, AGENT, BYTES, World

TOKEN = {"Authorization": f"Bearer {ADMIN}"}
AUTHORITY = trustme.CA()


def files(where: Path, certificate: trustme.LeafCert) -> tuple[Path, Path]:
    """Certificate with chain, key."""
    for number, part in enumerate(certificate.cert_chain_pems):
        part.write_to_path(where / "cert.pem", append=number > 0)
    certificate.private_key_pem.write_to_path(where / "key.pem")
    return where / "cert.pem", where / "key.pem"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pair = files(tmp_path_factory.mktemp("pair"), AUTHORITY.issue_cert("127.0.0.1"))
    limits = Limits(head_seconds=2)
    found = Server(
        world.app, "127.0.0.1", 0, context=server_context(*pair), threads=2, limits=limits
    )
    found.start()
    yield found
    found.stop()


@pytest.fixture
def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def connect(server: Server, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(*server.address, context=context, timeout=20)


def rest(connection: socket.socket) -> bytes:
    data = bytearray()
    with suppress(ConnectionResetError):
        while chunk := connection.recv(1 << 16):
            data += chunk
    return bytes(data)


def test_big_files_go_in_and_out_on_one_connection(
    server: Server, trusting: ssl.SSLContext
) -> None:
    assert server.url == "https://{}:{}".format(*server.address)
    with closing(connect(server, trusting)) as client:
        client.connect()
        mine = client.sock.getsockname()
        for number in (1, 2):
            data = f"{number}".encode() * (9 << 20)
            path = f"/iaas/blobs/{hashlib.sha256(data).hexdigest()}"
            client.request("PUT", path, body=data, headers=TOKEN)
            answer = client.getresponse()
            assert (answer.status, bool(answer.read())) == (201, True)
            client.request("GET", path, headers=TOKEN)
            assert client.getresponse().read() == data
            assert client.sock.getsockname() == mine


def test_pipelined_requests_that_came_in_one_record(
    server: Server, trusting: ssl.SSLContext
) -> None:
    """The socket has nothing more to tell; what is left is inside TLS."""
    one = b"GET /health HTTP/1.1\r\nHost: x\r\n"
    with trusting.wrap_socket(
        socket.create_connection(server.address, timeout=20), server_hostname="127.0.0.1"
    ) as client:
        client.sendall((one + b"\r\n") * 200 + one + b"Connection: close\r\n\r\n")
        assert rest(client).count(b"HTTP/1.1 200") == 201


def test_silent_and_stalling_clients_delay_nobody(server: Server, trusting: ssl.SSLContext) -> None:
    hello = _client_hello()
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(server.address, timeout=20))
            for _ in range(200)
        ]
        for connection in slow[100:]:
            connection.sendall(hello[: len(hello) // 2])
        start = time.monotonic()
        for _ in range(10):
            with closing(connect(server, trusting)) as client:
                client.request("GET", "/health")
                assert client.getresponse().status == 200
        assert time.monotonic() - start < 2
        assert {rest(connection) for connection in slow} == {b""}
        assert time.monotonic() - start < 6


def _client_hello() -> bytes:
    said = ssl.MemoryBIO()
    side = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), said, server_hostname="x")
    with suppress(ssl.SSLWantReadError):
        side.do_handshake()
    return said.read()


def test_plain_http_is_told_and_closed(server: Server) -> None:
    with socket.create_connection(server.address, timeout=20) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = rest(client)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"speaks https" in answer


def test_nonsense_is_closed(server: Server) -> None:
    with socket.create_connection(server.address, timeout=20) as client:
        client.sendall(b"\x16\x03\x01\x00\x05nonsense" * 10)
        assert b"HTTP" not in rest(client)


def test_tls_1_1_is_refused(server: Server) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(server.address, timeout=20) as plain,
        pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"),
    ):
        old.wrap_socket(plain)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_nobody_negotiates_again(server: Server) -> None:
    """A handshake costs us more than them. R makes this client ask for another one."""
    where = f"{server.address[0]}:{server.address[1]}"
    client = subprocess.Popen(
        ["openssl", "s_client", "-tls1_2", "-connect", where],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with client:
        assert client.stdin is not None
        assert client.stdout is not None
        for line in client.stdout:
            if "Verify return code" in line:  # the first handshake is over
                break
        client.stdin.write("R\n")
        client.stdin.flush()
        said = client.stdout.read()
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said
    assert client.returncode != 0


def test_agents_fetch_images_on_loopback_without_tls(world: World, server: Server) -> None:
    digest = world.upload()
    host, port = server.inner_url.removeprefix("http://").split(":")
    assert host == "127.0.0.1"
    with closing(http.client.HTTPConnection(host, int(port), timeout=20)) as client:
        headers = {"Authorization": f"Bearer {AGENT}"}
        client.request("GET", f"/iaas/blobs/{digest}", headers=headers)
        assert client.getresponse().read() == BYTES


def _days(number: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=number)


def test_a_pair_of_its_own_signing_will_do(tmp_path: Path) -> None:
    lone = trustme.CA()
    lone.cert_pem.write_to_path(tmp_path / "cert.pem")
    lone.private_key_pem.write_to_path(tmp_path / "key.pem")
    assert server_context(tmp_path / "cert.pem", tmp_path / "key.pem")


@pytest.mark.parametrize(
    ("begin", "end", "why"),
    [
        pytest.param(-9, -1, "certificate has expired", id="expired"),
        pytest.param(1, 9, "certificate is not yet valid", id="early"),
    ],
)
def test_a_certificate_that_clients_refuse(tmp_path: Path, begin: int, end: int, why: str) -> None:
    leaf = AUTHORITY.issue_cert("127.0.0.1", not_before=_days(begin), not_after=_days(end))
    with pytest.raises(TlsError, match=f"would refuse the certificate .*cert.pem: {why}"):
        server_context(*files(tmp_path, leaf))


def test_files_that_are_no_pair(tmp_path: Path) -> None:
    certificate, key = files(tmp_path, AUTHORITY.issue_cert("127.0.0.1"))
    missing, text, other, locked = (tmp_path / name for name in ("no.pem", "text", "key2", "key3"))
    text.write_text("nonsense")
    AUTHORITY.issue_cert("127.0.0.1").private_key_pem.write_to_path(other)
    secret = load_pem_private_key(key.read_bytes(), None)
    locked.write_bytes(
        secret.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")
        )
    )
    for pair, words in {
        (missing, key): "cannot read .*no.pem: No such file",
        (certificate, tmp_path): "cannot read .*: Is a directory",
        (text, key): "text holds no certificate in PEM",
        (certificate, text): "text holds no private key in PEM",
        (certificate, certificate): "cert.pem holds no private key in PEM",
        (certificate, other): "key2 is not the one of .*cert.pem",
        (certificate, locked): "key3 has a passphrase",
    }.items():
        with pytest.raises(TlsError, match=words):
            server_context(*pair)
