"""A libvirtd of the test's own, which it may kill, freeze and start again; nobody else notices.

It has directories of its own in a mount namespace, and shares the host's network.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libvirt

DIRECTORIES = {
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "etc": "/etc/libvirt",
    "cache": "/var/cache/libvirt",
}
START_SECONDS = 60


class PrivateLibvirtd:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        for name in DIRECTORIES:
            (directory / name).mkdir()
        # virtlogd, which would write the consoles, is another daemon
        (directory / "etc" / "qemu.conf").write_text('stdio_handler = "file"\n')
        self.uri = f"qemu:///system?socket={directory}/run/libvirt-sock"

    def start(self) -> None:
        """tini reaps the VMs that die: see hosts.md of the project's notes on orphans."""
        mounts = (f'mount --bind "$1/{name}" {place}' for name, place in DIRECTORIES.items())
        script = " && ".join([*mounts, 'exec tini -s -- libvirtd --pid-file "$1/run/pid"'])
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
            + [str(self._directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, "the test's libvirtd does not start"
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            libvirt.open(self.uri).close()
        except libvirt.libvirtError:
            return False
        return True

    def signal(self, number: int) -> None:
        os.kill(int((self._directory / "run" / "pid").read_text()), number)

    def kill(self) -> None:
        """As a crash would. The VMs live on."""
        self.signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            self._wait()

    def _wait(self) -> None:
        assert self._process is not None
        self._process.wait(30)

    def pid_of(self, domain: str) -> int:
        return int((self._directory / "run" / "qemu" / f"{domain}.pid").read_text())


@contextmanager
def private_libvirtd(directory: Path) -> Iterator[PrivateLibvirtd]:
    daemon = PrivateLibvirtd(directory)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()
