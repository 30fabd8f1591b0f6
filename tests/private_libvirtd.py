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


SCRIPT = """
set -e
{mounts}
while read -r _; do
    libvirtd --pid-file "$1/run/pid" </dev/null >/dev/null 2>&1 || true
    echo ended
done
"""


class PrivateLibvirtd:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        for name in DIRECTORIES:
            (directory / name).mkdir()
        # virtlogd, which would write the consoles, is another daemon
        (directory / "etc" / "qemu.conf").write_text('stdio_handler = "file"\n')
        self.uri = f"qemu:///system?socket={directory}/run/libvirt-sock"
        mounts = (f'mount --bind "$1/{name}" {place}' for name, place in DIRECTORIES.items())
        script = SCRIPT.format(mounts="\n".join(mounts))
        # tini outlives libvirtd, and reaps at once the VMs that die: process 1 may take its time
        wrapper = ["unshare", "--mount", "--propagation", "private", "tini", "-s", "--"]
        self._keeper = subprocess.Popen(
            [*wrapper, "sh", "-c", script, "sh", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write("start\n")
        self._keeper.stdin.flush()
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

    def send(self, number: int) -> None:
        os.kill(int((self._directory / "run" / "pid").read_text()), number)

    def kill(self) -> None:
        """As a crash would. The VMs live on."""
        self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> None:
        assert self._keeper.stdout is not None
        self.send(number)
        assert self._keeper.stdout.readline() == "ended\n"

    def close(self) -> None:
        assert self._keeper.stdin is not None
        self.send(signal.SIGCONT)
        self.end()
        self._keeper.stdin.close()
        self._keeper.wait(30)
        assert self._keeper.stdout is not None
        self._keeper.stdout.close()

    def pid_of(self, domain: str) -> int:
        return int((self._directory / "run" / "qemu" / f"{domain}.pid").read_text())


@contextmanager
def private_libvirtd(directory: Path) -> Iterator[PrivateLibvirtd]:
    daemon = PrivateLibvirtd(directory)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.close()
