"""Ours: a control plane and an agent of their own, driven as a user does, by `iaasctl`."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import docker
import psutil

from tests.bench.floor import timed

BIN = Path(sys.executable).parent
MACHINE = """\
---
apiVersion: iaas/v1
kind: Machine
metadata: {{name: m{index}}}
spec: {{image: web, memory: 64Mi, cpus: 0.1}}
"""
BASE = """\
apiVersion: iaas/v1
kind: Node
metadata: {{name: bench}}
spec: {{address: "127.0.0.1:{port}", capacity: {{memory: 64Gi, cpus: 100}}}}
---
apiVersion: iaas/v1
kind: Image
metadata: {{name: web}}
spec: {{type: docker, file: {archive}}}
"""
PORT = 7790


class Ours:
    def __init__(self, archive: Path) -> None:
        self._state = Path(tempfile.mkdtemp(prefix="iaas-bench-", dir="/var/tmp"))
        self._archive = archive
        self._docker = docker.from_env()
        self._cluster = f"--agent-token-file={self._state}/agent.token"
        self._reconciler = self._start(
            "iaas-reconciler",
            f"--listen=127.0.0.1:{PORT}",
            "--health-listen=127.0.0.1:0",
            f"--state={self._state}/r",
            f"--images={self._state}/images",
            self._cluster,
        )
        self._agent = self._start(
            "hyper",
            f"--listen=127.0.0.1:{PORT + 1}",
            f"--state={self._state}/h",
            f"--token-file={self._state}/agent.token",
            "--drivers=docker",
        )
        self.apply(0)

    def _start(self, program: str, *options: str) -> subprocess.Popen[str]:
        log = (self._state / f"{program}.log").open("w")
        process = subprocess.Popen(
            [BIN / program, *options], stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert process.stdout is not None
        if not process.stdout.readline().startswith("ready"):
            raise RuntimeError((self._state / f"{program}.log").read_text())
        return process

    def apply(self, count: int) -> float:
        """Seconds of `iaasctl apply --wait` of a file with `count` machines, the program's start included."""
        text = BASE.format(port=PORT + 1, archive=self._archive)
        text += "".join(MACHINE.format(index=index) for index in range(count))
        manifest = self._state / "bench.yaml"
        manifest.write_text(text)
        return timed(lambda: self._ctl("apply", "-f", str(manifest), "--wait", "--approve"))

    def _ctl(self, *words: str) -> None:
        env = os.environ | {
            "IAAS_SERVER": f"http://127.0.0.1:{PORT}",
            "IAAS_TOKEN_FILE": str(self._state / "r" / "token"),
        }
        done = subprocess.run(
            [BIN / "iaasctl", *words], env=env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"iaasctl {' '.join(words)}: {done.stdout}{done.stderr}")

    def restart(self) -> float:
        """Seconds from the end of a killed container until it runs again; one machine is there."""
        (container,) = self._docker.containers.list(filters={"label": "iaas.uid"})
        before = container.attrs["State"]["StartedAt"]
        container.kill()
        start = time.perf_counter()
        while True:
            state = self._docker.api.inspect_container(container.id)["State"]
            if state["Running"] and state["StartedAt"] != before:
                return time.perf_counter() - start
            time.sleep(0.005)

    def idle(self, seconds: float) -> float:
        """CPU share of one core that both programs use while nothing happens."""
        processes = [psutil.Process(it.pid) for it in (self._reconciler, self._agent)]
        before = [it.cpu_times() for it in processes]
        time.sleep(seconds)
        after = [it.cpu_times() for it in processes]
        used = sum(
            b.user + b.system - a.user - a.system for a, b in zip(before, after, strict=True)
        )
        return used / seconds

    def close(self) -> None:
        for process in (self._reconciler, self._agent):
            process.terminate()
            process.wait(30)
        subprocess.run(
            [BIN / "hyper", "--purge", f"--state={self._state}/h", "--drivers=docker"],
            check=False,
            capture_output=True,
        )
        shutil.rmtree(self._state, ignore_errors=True)
        self._docker.close()
