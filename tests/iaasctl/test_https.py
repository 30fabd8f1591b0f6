"""https to a real server: which authorities are trusted, and what is said when it does not work."""

import hashlib
import io
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from iaasctl.client import Client
from iaasctl.errors import Failure, Invalid, Unreachable
from iaasctl.main import main
from iaasctl.transport import Request
from reconciler.api import Server
from tests.reconciler.world import ADMIN, World


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    world = World(tmp_path_factory.mktemp("https"))
    found = Server(world.app, "127.0.0.1", 0, context=context, threads=4)
    found.start()
    yield found
    found.stop()


@pytest.fixture
def token(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(ADMIN)
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def test_an_authority_is_named_by_option_or_environment(
    server: Server,
    token: str,
    ca: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    where = ["--server", server.url, "--token-file", token]
    assert main([*where, "--ca-file", ca, "get", "nodes", "-o", "json"]) == 0
    assert main(["get", "nodes", "-o", "json", *where, "--ca-file", ca]) == 0
    monkeypatch.setenv("IAAS_CA", ca)
    assert main(["get", "nodes", "-o", "json", *where]) == 0
    assert "[]" in capfd.readouterr().out
    monkeypatch.setenv("IAAS_CA", "/nonexistent")
    assert main(["get", "nodes", *where]) == 2
    assert "/nonexistent" in capfd.readouterr().err


def test_servers_that_are_not_trusted(server: Server, token: str, ca: str) -> None:
    with pytest.raises(Unreachable, match="is not trusted") as caught:
        Client.connect(server.url, token).objects("nodes")
    assert "--ca-file" in caught.value.fix
    with pytest.raises(Unreachable) as caught:
        Client.connect(server.url.replace("127.0.0.1", "localhost"), token, ca).objects("nodes")
    assert "Hostname mismatch" in caught.value.why
    assert "--server" in caught.value.fix


def test_files_that_are_no_authority(server: Server, token: str, tmp_path: Path) -> None:
    for file, why in ((tmp_path / "none", "No such file"), (Path(token), "no certificate in PEM")):
        with pytest.raises(Invalid, match="as an authority to trust") as caught:
            Client.connect(server.url, token, str(file)).objects("nodes")
        assert why in caught.value.why


def test_http_and_https_mixed_up(server: Server, token: str) -> None:
    with pytest.raises(Failure, match="this port speaks https"):
        Client.connect(server.url.replace("https", "http"), token).objects("nodes")
    with pytest.raises(Unreachable) as caught:
        Client.connect(server.inner_url.replace("http", "https"), token).objects("nodes")
    assert caught.value.why == "it does not speak https"


def test_a_refusal_before_the_end_of_the_body_is_read(server: Server, token: str, ca: str) -> None:
    """The server ends the connection while we are still sending."""
    data = b"x" * (40 << 20)
    path = f"/iaas/blobs/{hashlib.sha256(data).hexdigest()}"
    Path(token).write_text("a-token-of-somebody-else")
    with Client.connect(server.url, token, ca) as client:
        headers = {"Content-Length": str(len(data))}
        for _ in range(5):
            request = Request("PUT", path, headers, io.BytesIO(data))
            assert client._asker.transport.send(request).status == 401
