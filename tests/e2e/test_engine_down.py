"""An engine that is not there, comes, dies and comes again: said as it is, and made good, with no
restart of the agent. The engine is a dockerd of the test's own, in network and mount namespaces."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.e2e.conftest import Labs
from tests.e2e.documents import image, machine, node
from tests.e2e.ports import until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

Record = Callable[[str, object], None]


class PrivateDocker:
    """A dockerd whose socket is docker.sock in `run`, which stands for /run to whoever is inside."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "run"
        self.run.mkdir(parents=True)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def inside(self) -> tuple[str, ...]:
        # A copy of another container's mount here could keep its engine from removing it.
        script = f'umount --all --types overlay; mount --bind {self.run} /run && exec "$@"'
        return ("unshare", "--mount", "sh", "-c", script, "sh")

    def start(self) -> None:
        options = {
            "host": f"unix://{self.run}/docker.sock",
            "data-root": self._folder / "data",
            "exec-root": self._folder / "exec",
            "pidfile": self._folder / "pid",
            "containerd": "",
        }
        words = [f"--{name}={value}" for name, value in options.items() if value]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                ["unshare", "--net", "--mount", "dockerd", *words], stdout=log, stderr=log
            )

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def containers(self) -> list[dict[str, Any]]:
        client = docker.APIClient(f"unix://{self.run}/docker.sock")
        try:
            return list(client.containers())
        finally:
            client.close()


@pytest.fixture(scope="module")
def private() -> Iterator[PrivateDocker]:
    folder = Path(tempfile.mkdtemp(prefix="iaas-e2e-docker-", dir="/var/tmp"))
    made = PrivateDocker(folder)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_an_engine_that_comes_and_goes(
    private: PrivateDocker, labs: Labs, idle: Path, record_property: Record
) -> None:
    lab = labs("docker", private.inside)
    pid = lab.agent.pid
    path = lab.write(node(lab), image("idle", idle), machine("m", "idle"))
    lab.ctl("apply", "-f", path, "--wait", "--timeout=2s", code=3)
    (engine,) = lab.get("node", "n1")["drivers"]
    print(engine)
    assert not engine["ok"]
    assert "docker does not answer" in engine["detail"]
    assert "docker does not answer" in lab.machine("m")["reason"]

    for what in ("came for the first time", "came again"):
        private.start()
        began = time.monotonic()
        until("the machine runs", lambda: lab.machine("m")["ready"], 30)
        took = time.monotonic() - began
        print(f"dockerd {what}: the machine ran {took:.1f} s later")
        record_property(what, round(took, 1))
        assert len(private.containers()) == 1
        private.stop()
        until("its end is known", lambda: lab.machine("m")["state"] == "unknown")
        assert "docker does not answer" in lab.machine("m")["reason"]

    assert lab.agent.pid == pid
    assert lab.agent.runs
    private.start()
    until("the machine runs", lambda: lab.machine("m")["ready"], 30)
    assert lab.purge().code == 0
    assert private.containers() == []
