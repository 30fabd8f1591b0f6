"""Who has a port of the node: real sockets of real processes, in a network namespace of their own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from hyper.ports.listeners import Listeners, listened_on
from manifests.scalars import Protocol
from manifests.wire import Listener
from tests.netns import Host, hosts

HOLDER = """
import socket, sys
kept = []
for word in sys.argv[1:]:
    kind, address, port, *more = word.split(",")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, "only" in more)
    made.bind((address, int(port)))
    if kind == "tcp":
        made.listen()
    if "peer" in more:
        made.connect(("127.0.0.1", 9))
    kept.append(made)
open("/proc/self/comm", "w").write("holder")
print("ready", flush=True)
sys.stdin.read()
"""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


@pytest.fixture
def host() -> Iterator[Host]:
    with hosts(1) as (made,):
        yield made


@pytest.fixture
def hold(host: Host) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a program in the namespace that has these sockets; it is nobody's child here."""
    with ExitStack() as stack:

        def start(*sockets: str, ours: bool = False) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-c", HOLDER, *sockets]
            between = [] if ours else ["sh", "-c", '"$@"; exit', "sh"]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            program = host.do(lambda: subprocess.Popen([*between, *command], **pipes))
            stack.callback(program.communicate)  # ends it, since its input ends
            assert program.stdout is not None
            assert program.stdout.readline() == b"ready\n"
            return program

        yield start


def found(host: Host, listeners: Listeners, looks: int = 2) -> list[str]:
    for _ in range(looks):
        seen = host.do(listeners.look)
    return [f"{it.protocol} {it.port} {it.process}".strip() for it in seen]


@pytest.mark.parametrize(
    ("held", "taken"),
    [
        ("tcp,0.0.0.0,8080", True),
        ("tcp,127.0.0.1,8080", True),
        ("tcp,::,8080", True),
        ("tcp,::ffff:127.0.0.1,8080", True),
        ("tcp,::,8080,only", False),
        ("tcp,::1,8080", False),
        ("udp,0.0.0.0,8080", True),
        ("udp,127.0.0.1,8080", True),
        ("udp,::,8080", True),
        ("udp,::,8080,only", False),
    ],
)
def test_what_counts_is_what_a_published_port_would_collide_with(
    host: Host, hold: Callable[..., object], held: str, taken: bool
) -> None:
    hold(held)
    protocol = Protocol(held[:3])
    assert found(host, Listeners()) == ([f"{protocol} 8080 holder"] if taken else [])
    assert host.do(listened_on, protocol, 8080) is taken, "the kernel says so, too"


def test_programs_come_and_go(host: Host, hold: Callable[..., subprocess.Popen[bytes]]) -> None:
    listeners = Listeners()
    assert found(host, listeners) == []
    first = hold("tcp,0.0.0.0,80", "udp,0.0.0.0,53")
    assert found(host, listeners, 1) == ["tcp 80 holder"], "a datagram socket counts when it stays"
    assert found(host, listeners, 1) == ["tcp 80 holder", "udp 53 holder"]
    hold("tcp,0.0.0.0,81")
    assert found(host, listeners, 1) == ["tcp 80 holder", "tcp 81 holder", "udp 53 holder"]
    first.communicate()
    assert found(host, listeners, 1) == ["tcp 81 holder"]


def test_datagram_sockets_that_do_not_stay_are_never_told(host: Host) -> None:
    listeners = Listeners()
    for _ in range(5):
        with host.open_socket(socket.SOCK_DGRAM) as asking:
            asking.bind(("0.0.0.0", 0))
            assert found(host, listeners, 1) == []


def test_a_connected_socket_is_in_nobodys_way(host: Host, hold: Callable[..., object]) -> None:
    hold("udp,0.0.0.0,5353,peer")
    assert found(host, Listeners()) == []


def test_what_this_process_and_its_children_have_is_theirs(
    host: Host, hold: Callable[..., object]
) -> None:
    hold("tcp,0.0.0.0,8081", ours=True)
    with host.open_socket() as own:
        own.bind(("0.0.0.0", 8080))
        own.listen()
        assert found(host, Listeners()) == []


def test_only_changes_are_told(
    host: Host, hold: Callable[..., subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyper.ports.listeners.LOOK", 0.02)
    hold("tcp,0.0.0.0,80")
    told: list[tuple[Listener, ...]] = []
    listeners = Listeners()
    host.do(listeners.watch, told.append)  # a thread looks where the one is that it comes from
    try:
        assert [it.port for it in told[0]] == [80]
        more = hold("tcp,0.0.0.0,81")
        wait_for(lambda: len(told) == 2)
        more.communicate()
        wait_for(lambda: len(told) == 3)
        assert told[2] == told[0]
    finally:
        listeners.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_looking_at_200_sockets_costs_next_to_nothing(
    host: Host, hold: Callable[..., object], record_property: Callable[[str, object], None]
) -> None:
    hold(*(f"{'udp' if port % 4 else 'tcp'},127.0.0.1,{port}" for port in range(10_000, 10_200)))
    listeners = Listeners()
    assert len(found(host, listeners)) == 200

    def cost() -> float:
        began = time.thread_time()
        for _ in range(50):
            with suppress(OSError):
                listeners.look()
        return (time.thread_time() - began) / 50

    share = host.do(cost) / 2.0
    print(f"a look every 2 s at 200 sockets: {share:.3%} of a processor")
    record_property("share", share)
    assert share < 0.005
