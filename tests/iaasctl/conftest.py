"""Fixtures: a scripted server, and the program run against it in this process."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from iaasctl.client import Client
from iaasctl.main import main
from iaasctl.session import Session
from tests.iaasctl.scripted import Server
from tests.iaasctl.wsgi import WsgiTransport

MANIFEST = """\
apiVersion: iaas/v1
kind: Machine
metadata: {name: web1}
spec: {image: web}
"""


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> Client:
    return Client(WsgiTransport(server))


@pytest.fixture
def run(server: Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs iaasctl with these words and tells code, stdout and stderr."""
    monkeypatch.setenv("IAAS_TRACEBACK", "1")

    def go(*words: str) -> Ran:
        code = main(list(words), Session(lambda *_: Client(WsgiTransport(server), patience=0.2)))
        return Ran(code, *capfd.readouterr())

    return go


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture
def program() -> str:
    return shutil.which("iaasctl") or "iaasctl"
