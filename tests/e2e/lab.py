"""A control plane and an agent as real processes on ports and a state directory of their own.

Here: starting, ending and killing them, running `iaasctl` against them, and taking everything away
again. Not here: what the engines have (`engines`), and what is asserted.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hyper.engines import owner
from tests.e2e.ports import free_port

BIN = Path(sys.executable).parent
READY = 30.0
COMMAND = 120.0
SET = "e2e"


class Result(NamedTuple):
    code: int
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        return self.out + self.err


def run(
    program: str, *words: str, env: dict[str, str] | None = None, inside: tuple[str, ...] = ()
) -> Result:
    """One of our programs until it ends; a Python traceback in what it says is a failure."""
    start = time.monotonic()
    done = subprocess.run(
        [*inside, BIN / program, *words],
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND,
        stdin=subprocess.DEVNULL,
    )
    result = Result(done.returncode, done.stdout, done.stderr, time.monotonic() - start)
    assert "Traceback" not in result.text, result.text
    return result


def cluster_of(state: Path) -> str:
    """What labels carry of the agent with this state; "" before it has met its controller."""
    ledger = state / "ledger.json"
    assignment = json.loads(ledger.read_text())["assignment"] if ledger.exists() else None
    cluster = (assignment or {}).get("cluster")
    return owner(cluster, state) if cluster else ""


class Daemon:
    """One of our two servers. Its log survives its restarts."""

    def __init__(self, log: Path, *command: str | Path) -> None:
        self.log = log
        self._first = self._command = command
        self._process: subprocess.Popen[str] | None = None

    def with_options(self, *more: str) -> None:
        """From its next start on."""
        self._command += more

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> float:
        """Starts it; seconds until it says that it is ready."""
        began = time.monotonic()
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, text=True
            )
        # A process that hangs is killed, which ends the reading.
        timer = threading.Timer(READY, self._process.kill)
        timer.start()
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        timer.cancel()
        assert line.startswith("ready"), f"{self._command}: {line!r}\n{self.log.read_text()}"
        return time.monotonic() - began

    def kill(self) -> None:
        """kill -9"""
        self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(READY)
        if self._process.stdout:
            self._process.stdout.close()
        self._process = None
        return code

    def again(self, *options: str) -> None:
        """Ended and started with these options besides the first ones."""
        assert self.end() == 0
        self._command = (*self._first, *options)
        self.start()

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None


class Lab:
    """A cluster of one node, `n1`. `inside`: what the agent's command line begins with."""

    def __init__(self, drivers: str = "docker,libvirt", inside: tuple[str, ...] = ()) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="iaas-e2e-", dir="/var/tmp"))
        self.dir.chmod(0o711)
        self._cluster = ""
        self._inside = inside
        self._drivers = drivers
        self.api_port, self.agent_port = free_port(), free_port()
        self.agent_token = self.dir / "agent.token"
        self.token = self.dir / "r" / "token"
        self.reconciler = Daemon(
            self.dir / "reconciler.log",
            BIN / "iaas-reconciler",
            f"--listen=127.0.0.1:{self.api_port}",
            "--health-listen=127.0.0.1:0",
            f"--state={self.dir}/r",
            f"--images={self.dir}/images",
            f"--agent-token-file={self.agent_token}",
        )
        self.agent = Daemon(
            self.dir / "agent.log",
            *inside,
            BIN / "hyper",
            f"--listen=127.0.0.1:{self.agent_port}",
            f"--state={self.state}",
            f"--token-file={self.agent_token}",
            f"--drivers={drivers}",
        )

    @property
    def state(self) -> Path:
        """The agent's."""
        return self.dir / "h"

    @property
    def cluster(self) -> str:
        """What labels carry; "" before the agent has met its controller."""
        self._cluster = self._cluster or cluster_of(self.state)
        return self._cluster

    def start(self) -> None:
        self.reconciler.start()
        self.agent.start()

    # -- asking

    @property
    def environment(self) -> dict[str, str]:
        """What tells `iaasctl` of this lab."""
        return {
            "IAAS_SERVER": f"http://127.0.0.1:{self.api_port}",
            "IAAS_TOKEN_FILE": str(self.token),
            "NO_COLOR": "1",
        }

    def ctl(self, *words: str, code: int | None = 0, **env: str) -> Result:
        """`iaasctl`; its exit code must be `code`, unless that is None."""
        result = run("iaasctl", *words, env=self.environment | env)
        assert code is None or result.code == code, f"{words}: {result}\n{self.tails()}"
        return result

    def write(self, *documents: dict[str, Any], name: str = SET) -> str:
        """The path of a file with these documents; the name is that of the set they make."""
        path = self.dir / f"{name}.yaml"
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
        return str(path)

    def apply(self, *documents: dict[str, Any], name: str = SET, code: int | None = 0) -> Result:
        """Applies them and waits until all is as wanted."""
        path = self.write(*documents, name=name)
        return self.ctl("apply", "-f", path, "--wait", "--timeout=100s", "--approve", code=code)

    def get(self, *words: str) -> Any:
        return json.loads(self.ctl("get", *words, "-o", "json").out)

    def machines(self) -> dict[str, dict[str, Any]]:
        return {item["name"]: item for item in self.get("machines")}

    def machine(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get("machine", name)
        return found

    def events(self, about: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self.ctl("events", *([about] if about else []), "-o", "json").out
        )
        return found

    # -- what they leave

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.dir.glob("*.log")))

    def tails(self) -> str:
        return "".join(
            f"--- {path.name}\n{path.read_text()[-2000:]}"
            for path in sorted(self.dir.glob("*.log"))
        )

    def secrets(self) -> list[str]:
        """The tokens of all roles, the admin's and the agents' first."""
        others = sorted(self.token.parent.glob("*.token"))
        paths = (self.token, self.agent_token, *others)
        return [path.read_text().strip() for path in paths if path.exists()]

    def stop(self) -> None:
        """Ends both programs as an operator does; each must end well and in time."""
        for daemon in (self.reconciler, self.agent):
            if daemon.runs:
                assert daemon.end() == 0, self.tails()

    def purge(self) -> Result:
        """Everything of this agent off the host, after the programs have ended."""
        self.stop()
        only = [f"--drivers={self._drivers}"] if self._inside else []  # it reaches no other engine
        return run("hyper", "--purge", f"--state={self.state}", *only, inside=self._inside)

    def forget(self) -> None:
        shutil.rmtree(self.dir, ignore_errors=True)
