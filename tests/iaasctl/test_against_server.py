"""The program against the real API: the contract as both sides understand it. No agents, no sockets."""

import hashlib
from pathlib import Path

import pytest

from iaasctl.client import Client
from iaasctl.main import main
from iaasctl.session import Session
from tests.iaasctl.conftest import Ran, Run
from tests.iaasctl.wsgi import WsgiTransport

EXAMPLES = Path(__file__).parents[2] / "examples"
TOKEN = "admin-token-of-the-tests"


@pytest.fixture
def world(tmp_path: Path) -> Client:
    """A client of a control plane with a store and a library in `tmp_path`."""
    from reconciler.api.app import make_app
    from tests.reconciler.world import World

    deps = World(tmp_path / "world").deps
    return Client(WsgiTransport(make_app(deps), TOKEN), patience=0)


@pytest.fixture
def go(world: Client, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("IAAS_TRACEBACK", "1")

    def run(*words: str) -> Ran:
        return Ran(main(list(words), Session(lambda *_: world)), *capfd.readouterr())

    return run


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """examples/cluster.yaml with images that are right in their first bytes."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "web.tar").write_bytes(b"\0" * 257 + b"ustar\x0000" + b"\0" * 2000)
    (images / "vm.qcow2").write_bytes(QCOW2)
    path = tmp_path / "cluster.yaml"
    path.write_text((EXAMPLES / "cluster.yaml").read_text())
    return path


QCOW2 = (
    b"QFI\xfb\x00\x00\x00\x03"
    + b"\0" * 8
    + b"\0\0\0\0"
    + (16).to_bytes(4, "big")
    + (1 << 20).to_bytes(8, "big")
    + b"\0" * 64
    + (4).to_bytes(4, "big")
    + (104).to_bytes(4, "big")
    + b"\0" * 4096
)
