"""`examples/lab/walk`: every command of the lab's text, in its order, on two agents of this host."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.e2e.engines import Engines
from tests.e2e.lab import cluster_of
from tests.e2e.ports import free_port

pytestmark = [pytest.mark.docker, pytest.mark.libvirt, pytest.mark.timeout(280)]

SCRIPT = Path(__file__).parents[2] / "examples" / "lab" / "walk"
ID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
ROUTES = (
    ("GET", "nodes"),
    ("GET", r"nodes\?query=.+"),
    ("GET", r"nodes/\w+"),
    ("POST", "nodes"),
    ("DELETE", r"nodes/\w+"),
    ("GET", "images"),
    ("GET", r"images\?query=.+"),
    ("POST", "images"),
    ("GET", "machines"),
    ("GET", r"machines\?query=.+"),
    ("GET", f"machines/{ID}"),
    ("POST", "machines"),
    ("PUT", f"machines/{ID}"),
    ("DELETE", f"machines/{ID}"),
)
"""The lab's table."""
Step = tuple[str, list[str]]
"""A command, and the lines that it printed."""


class Walk:
    """One run of the script; its programs, ports and files are its own."""

    def __init__(self, web: Path, vm_image: Path) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="iaas-walk-", dir="/var/tmp"))
        self.dir.chmod(0o711)
        self.state = self.dir / "state"
        self.port, self.port2 = free_port(), free_port()
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self._clusters: dict[str, str] = {}
        self._settings = {
            "LAB_STATE": str(self.state),
            "LAB_PORT": str(self.port),
            "LAB_PORT2": str(self.port2),
            "LAB_DEBIAN": str(vm_image),
            "LAB_NGINX": str(web),
        } | {f"LAB_{it}": f"127.0.0.1:{free_port()}" for it in ("IAAS", "NODE1", "NODE2")}

    def run(self, until: str = "") -> int:
        """Its exit code. Once a line begins with `until`, it gets what Ctrl-C in a terminal sends."""
        with subprocess.Popen(
            [SCRIPT],
            env=os.environ | self._settings | {"NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as script:
            assert script.stdout is not None
            for line in script.stdout:
                self._take(line.rstrip("\n"))
                if until and line.startswith(until):
                    os.killpg(script.pid, signal.SIGINT)
        return script.returncode

    def _take(self, line: str) -> None:
        if line.startswith("> "):
            self.steps.append((line.removeprefix("> "), []))
            self._clusters |= {it: cluster_of(self.state / it) for it in ("node1", "node2")}
        elif line.startswith(("# ", "== ")):
            self.notes.append(line)
        elif line and self.steps:
            self.steps[-1][1].append(line)

    def answer(self, pattern: str, nth: int = 0) -> str:
        """What the nth command that matches printed."""
        found = [lines for command, lines in self.steps if re.fullmatch(pattern, command)]
        return "\n".join(found[nth])

    def left(self, engines: Engines) -> list[str]:
        agents: list[Any] = [
            SimpleNamespace(dir=self.dir, state=self.state / name, cluster=cluster)
            for name, cluster in self._clusters.items()
        ]
        return [
            *map(str, self.dir.iterdir()),
            *(it for at in agents for it in engines.leftovers(at)),
        ]

    @property
    def told(self) -> str:
        lines = [line for command, printed in self.steps for line in (f"> {command}", *printed)]
        return "\n".join([*lines, *self.notes[-3:]])

    @property
    def met(self) -> bool:
        """Whether both agents belonged to a cluster, so that `left` knows what to look for."""
        return all(self._clusters.get(name) for name in ("node1", "node2"))


@pytest.fixture
def walk(web: Path, vm_image: Path) -> Iterator[Walk]:
    made = Walk(web, vm_image)
    yield made
    shutil.rmtree(made.dir)


@contextmanager
def listening(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


def test_the_lab_from_top_to_bottom(walk: Walk, engines: Engines) -> None:
    code = walk.run()
    print(walk.told)
    assert code == 0
    assert walk.met
    assert walk.left(engines) == []
    assert [note[3:].split(" ")[0] for note in walk.notes if note.startswith("== ")] == [
        *("3.", "4.", "5.", "6.1", "6.2", "6.3"),
        "done:",
    ]
    rest(walk)
    nodes_and_images(walk)
    machines(walk)
    scheduling_and_monitoring(walk)


def rest(walk: Walk) -> None:
    curl = (
        r"curl -X {} http://127\.0\.0\.1:\d+/iaas/{}( -H 'Content-Type: application/json' -d .*)?"
    )
    for method, path in ROUTES:
        status = walk.answer(curl.format(method, path)).splitlines()[0]
        good = {"GET": "200", "PUT": "200", "POST": "201", "DELETE": "202|204|409"}[method]
        assert re.fullmatch(f"HTTP ({good})", status), (method, path, status)
    assert "is on node 'node1'" in walk.answer(curl.format("DELETE", "nodes/node1"))
    assert re.search(f'"id": "{ID}"', walk.answer(curl.format("POST", "machines")))
    assert walk.answer(curl.format("GET", f"machines/{ID}"), -1).startswith("HTTP 404")


def nodes_and_images(walk: Walk) -> None:
    assert re.search(r"node/node1 \w+", walk.answer(r"iaasctl node add node1 127\.0\.0\.1:\d+"))
    assert "node2 gone" in walk.answer("iaasctl node rm node2 --wait")
    assert re.findall(r"^(\w+) +ready ", walk.answer("iaasctl node ls"), re.MULTILINE) == [
        "node1",
        "node2",
    ]
    assert "image/debian ready: qcow2" in walk.answer("iaasctl img add debian .*")
    assert "image/nginx ready: docker-archive" in walk.answer("iaasctl img add nginx .*")
    assert len(walk.answer("iaasctl img ls").splitlines()) == 3


def machines(walk: Walk) -> None:
    vm = walk.answer(f"iaasctl vm add debian -t libvirt -n node1 -p {walk.port}:80")
    assert re.search(f"^{ID}$", vm, re.MULTILINE)
    taken = walk.answer(f"iaasctl vm add nginx -t docker -n node1 -p {walk.port}:80")
    assert f"port {walk.port}/tcp of node 'node1' is taken by machine debian-" in taken
    assert "# refused, exit code 5" in walk.notes
    assert re.search(ID, walk.answer(f"iaasctl vm add nginx -t docker -n node1 -p {walk.port2}:80"))
    for nth in (0, 2):  # between them it is stopped
        page = walk.answer(f"curl http://127.0.0.1:{walk.port2}/", nth)
        assert page.startswith("hello from container nginx-")
    assert "hello from VM" in walk.answer(f"curl http://127.0.0.1:{walk.port}/", 1)
    assert "hello from VM" in walk.answer(f"curl http://127.0.0.1:{walk.port}/", 3)
    assert walk.notes.count("# nothing listens there") == 3
    assert len(walk.answer("iaasctl vm ls type=libvirt state=running").splitlines()) == 2
    assert len(walk.answer("iaasctl vm ls state=stopped").splitlines()) == 3
    assert "no machines" in walk.answer("iaasctl vm ls", 1)


def scheduling_and_monitoring(walk: Walk) -> None:
    placed = re.findall(r"^\S+ +running +(node\d) ", walk.answer("iaasctl vm ls", 2), re.MULTILINE)
    assert sorted(placed) == ["node1", "node1", "node2", "node2"]
    back = walk.answer("iaasctl vm ls -o wide")
    assert len(re.findall(r" running .* 1 +- +api ", back)) == 2
    assert re.search(r"^node2 +unavailable ", walk.answer("iaasctl node ls", 2), re.MULTILINE)
    silent = walk.answer("iaasctl vm ls node=node2")
    assert len(re.findall(r" unknown +node2 .* node2 does not answer", silent)) == 2
    assert "no node fits: node2: does not answer" in walk.answer("iaasctl vm ls state=pending")
    assert [note for note in walk.notes if "it is on" in note] == [
        f"# it is on {name}" for name in ("node1", "node2", "node1", "node1", "node2")
    ]
    assert "no machines" in walk.answer("iaasctl vm ls", -1)
    assert walk.notes[-2:] == ["# taking everything away", "# everything is removed"]


def test_ctrl_c_leaves_nothing(walk: Walk, engines: Engines) -> None:
    """While a VM and a container are being made."""
    assert walk.run(until="# refused") == 130, walk.told
    assert walk.met
    assert walk.left(engines) == []


def test_a_failure_ends_it_and_leaves_nothing(walk: Walk, engines: Engines) -> None:
    with listening(walk.port):
        assert walk.run() == 1
    assert "is taken by program" in walk.told
    assert "should have been HTTP 201" in walk.told
    assert walk.left(engines) == []


def test_it_keeps_off_what_is_there(walk: Walk) -> None:
    walk.state.mkdir()
    kept = walk.state / "file"
    kept.touch()
    assert walk.run() == 1
    assert kept.exists()
