"""Who gets a port of a node, and what it is like to use one: refused with the owner named, waited for
while its holder leaves, and when published, published for all."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import docker
import pytest

from tests.e2e.documents import Document, machine
from tests.e2e.engines import Engines
from tests.e2e.lab import Lab
from tests.e2e.ports import free_port, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

CONFLICT = 5
"""What `iaasctl` ends with when the server refuses."""
LISTENER = """
import socket, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
made = socket.socket(socket.AF_INET, kind)
made.bind((sys.argv[2], int(sys.argv[3])))
if kind == socket.SOCK_STREAM:
    made.listen()
open("/proc/self/comm", "w").write("e2e-listener")
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def listening(protocol: str, address: str, port: int) -> Iterator[None]:
    """A program of the node, `e2e-listener`, that is none of ours."""
    command = [sys.executable, "-c", LISTENER, protocol, address, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        yield
        program.communicate()


def listens(lab: Lab, port: int) -> bool:
    return any(it["port"] == port for it in lab.get("node", "n1")["listeners"])


def refused(lab: Lab, port: str, **more: object) -> str:
    """What is said of a machine that asks for this port, by apply and plan alike."""
    path = lab.write(machine("wants", "idle", ports=[port], **more), name="wants")
    planned = lab.ctl("plan", "-f", path, code=None)
    applied = lab.ctl("apply", "-f", path, code=CONFLICT)
    assert "wants" not in lab.machines()
    assert planned.code, "plan has words of its own for failing"
    assert planned.err == applied.err
    print(applied.err)
    return applied.err


@pytest.mark.parametrize("pin", [{"node": "n1"}, {}], ids=["pinned", "unpinned"])
def test_a_port_of_another_machine_is_refused(small: Lab, pin: Document) -> None:
    port = free_port()
    small.apply(machine("holds", "idle", port=port))
    assert f"port {port}/tcp" in (said := refused(small, f"{port}:80", **pin))
    assert "machine holds" in said
    assert "n1" in said


@pytest.mark.parametrize(
    ("protocol", "address"), [("tcp", "0.0.0.0"), ("tcp", "127.0.0.1"), ("udp", "127.0.0.1")]
)
def test_a_port_of_a_program_is_refused(small: Lab, protocol: str, address: str) -> None:
    port = free_port()
    with listening(protocol, address, port):
        until("it is reported", lambda: listens(small, port))
        described = small.ctl("describe", "node", "n1").out
        assert "e2e-listener" in described
        assert f"port {port}/{protocol} of node 'n1' is taken by program e2e-listener" in refused(
            small, f"{port}:80/{protocol}", node="n1"
        )
        refused(small, f"{port}:80/{protocol}")
    until("it is gone", lambda: not listens(small, port))
    small.apply(machine("wants", "idle", ports=[f"{port}:80/{protocol}"]))


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1"])
def test_a_port_of_a_foreign_container_is_refused(
    small: Lab, engines: Engines, address: str, idle: object
) -> None:
    port, name = free_port(), f"e2e-stranger-{os.getpid()}"
    with open(str(idle), "rb") as file:
        (loaded,) = engines.docker.images.load(file)
    stranger = engines.docker.containers.run(
        loaded.id, name=name, detach=True, ports={"80/tcp": (address, port)}
    )
    try:
        until("it is reported", lambda: published(small, name) == [f"{port}/tcp"])
        assert f"is taken by container {name}" in refused(small, f"{port}:80", node="n1")
        assert not listens(small, port), "it is told as the container's, not as docker-proxy's"
        stranger.kill()
        until("its port is free", lambda: published(small, name) == [])
        small.apply(machine("wants", "idle", port=port))
    finally:
        stranger.remove(force=True, v=True)
        with suppress(docker.errors.APIError):  # the lab may have it still
            engines.docker.images.remove(loaded.id)


def published(lab: Lab, name: str) -> list[str]:
    return [
        port
        for it in lab.get("node", "n1")["foreign"]
        if it["name"] == name
        for port in it["ports"]
    ]


def test_reserved_ports_are_refused(small: Lab) -> None:
    assert "the node's ssh" in refused(small, "22:22", node="n1")
    assert "the node's ssh" in refused(small, "22:22")
    assert "the node's agent" in refused(small, f"{small.agent_port}:80", node="n1")


def test_two_in_one_file_are_refused_whole(small: Lab) -> None:
    documents = (machine(name, "idle", port=29_999) for name in ("one", "two"))
    said = small.ctl("apply", "-f", small.write(*documents, name="two"), code=CONFLICT)
    assert "machine one" in said.err
    assert small.machines() == {}


def test_a_port_is_free_again_only_when_the_stop_is_confirmed(small: Lab, engines: Engines) -> None:
    """While the agent is frozen it confirms nothing."""
    port = free_port()
    small.apply(machine("first", "idle", port=port), name="heirs")
    os.kill(small.agent.pid, signal.SIGSTOP)
    try:
        small.ctl("delete", "machine", "first")
        path = small.write(machine("heir", "idle", port=port, node="n1"), name="heir")
        small.ctl("apply", "-f", path)
        waits = until("it waits", lambda: small.machine("heir")["reason"])
        print(waits)
        assert small.machine("heir")["state"] == "pending"
        assert f"port {port}/tcp is taken by machine first" in waits
        assert [it["Config"]["Labels"]["iaas.name"] for it in engines.containers(small)] == [
            "first"
        ]
    finally:
        os.kill(small.agent.pid, signal.SIGCONT)
    until("the heir has it", lambda: small.machine("heir")["ready"])
    (held,) = engines.containers(small)
    assert held["Config"]["Labels"]["iaas.name"] == "heir"
    assert str(port) in str(held["NetworkSettings"]["Ports"])


def test_docker_cannot_publish_beside_a_listener_on_the_loopback(
    engines: Engines, idle: object
) -> None:
    """Why those are refused, too."""
    port = free_port()
    with open(str(idle), "rb") as file:
        (loaded,) = engines.docker.images.load(file)
    try:
        for protocol in ("tcp", "udp"):
            beside = {f"80/{protocol}": ("0.0.0.0", port)}
            taken = pytest.raises(docker.errors.APIError, match="address already in use")
            with listening(protocol, "127.0.0.1", port), taken:
                engines.docker.containers.run(loaded.id, detach=True, ports=beside)
    finally:
        for left in engines.docker.containers.list(all=True, filters={"ancestor": loaded.id}):
            if left.status == "created":
                left.remove(force=True)
        with suppress(docker.errors.APIError):
            engines.docker.images.remove(loaded.id)
