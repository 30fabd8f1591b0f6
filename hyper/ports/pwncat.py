"""Published ports of VMs by processes `pwncat -L`, one each: the way of the lab, and for it alone.

pwncat serves one client at a time. It keeps one connection to the VM, which it gives to the next
client as it is: two clients in a row may read each other's data. Here: starting the processes,
keeping them, and their end, also when this one is killed (the kernel ends them then).
"""

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

from hyper.core.model import Publication, Target
from hyper.ports import PublishError
from hyper.ports.listeners import listened_on
from manifests.scalars import Port, Protocol

AGAIN, LONGEST = 0.2, 25.6
"""Seconds until a process that ended is started again: at first, and at most."""
STEADY = 10.0
"""Seconds after which a process has worked, and its end is the first of its kind again."""
READY = 1.0
"""Seconds between two looks whether the VM listens: pwncat would ask without a pause."""
ENDING = 2.0


class Pwncat:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forwards: dict[Port, Forward] = {}

    def publish(self, wanted: Publication) -> Mapping[Port, str]:
        with self._lock:
            for port, forward in list(self._forwards.items()):
                if wanted.get(port) != forward.target or forward.ousted():
                    self._forwards.pop(port).stop()
            refused = {}
            for port, target in wanted.items():
                if port in self._forwards:
                    continue
                if listened_on(port.protocol, port.node):
                    taken = f"port {port.node}/{port.protocol} of this node is in use"
                    refused[port] = f"{taken} by another program"
                else:
                    self._forwards[port] = Forward(port, target)
            return refused

    def close(self) -> None:
        self.publish({})


class Forward:
    """One published port. Its thread starts the process and waits for it, so that none is left
    unreaped; the kernel ends a process whose thread has ended (`--pdeathsig`)."""

    def __init__(self, port: Port, target: Target) -> None:
        self.target = target
        self._port = port
        self._command = command(port, target)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        name = f"pwncat {port.node}/{port.protocol}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        with self._lock:
            if self._process is not None:
                self._process.kill()
        self._thread.join(ENDING)

    def ousted(self) -> bool:
        """Whether its process has ended and another program has got the port."""
        with self._lock:
            runs = self._process is not None and self._process.returncode is None
        return not runs and listened_on(self._port.protocol, self._port.node)

    def _run(self) -> None:
        pause = AGAIN
        while not self._stopped.is_set():
            if not self._target_listens():
                self._stopped.wait(READY)
                continue
            began = time.monotonic()
            if (process := self._start()) is not None:
                process.wait()
            if time.monotonic() - began > STEADY:
                pause = AGAIN
            self._stopped.wait(pause)
            pause = min(2 * pause, LONGEST)

    def _start(self) -> "subprocess.Popen[bytes] | None":
        quiet = subprocess.DEVNULL
        with self._lock, suppress(OSError):
            if not self._stopped.is_set():
                self._process = subprocess.Popen(
                    self._command, stdin=quiet, stdout=quiet, stderr=quiet
                )
                return self._process
        return None

    def _target_listens(self) -> bool:
        if self._port.protocol is Protocol.UDP:
            return True  # nobody can tell
        with suppress(OSError):
            socket.create_connection((self.target.ip, self.target.port), READY).close()
            return True
        return False


def command(port: Port, target: Target) -> list[str]:
    """Raises PublishError."""
    try:
        address = str(IPv4Address(target.ip))
    except ValueError:
        raise PublishError(f"port {port.node}: {target.ip!r} is not an address") from None
    return [
        _found("setpriv", "apt-get install util-linux"),
        *("--pdeathsig", "KILL", "--"),
        _found("pwncat", "pip install pwncat==0.1.2"),
        *("-4", "-n", "-L", f"0.0.0.0:{int(port.node)}", address, str(int(target.port))),
        *(["-u"] if port.protocol is Protocol.UDP else []),
    ]


def _found(program: str, remedy: str) -> str:
    """Where the program is: beside our Python, or on the PATH. Not `pwncat-cs`, which is another."""
    beside = Path(sys.executable).parent / program
    path = str(beside) if beside.exists() else shutil.which(program)
    if path is None:
        raise PublishError(f"{program} is missing on the node: {remedy}")
    return path
