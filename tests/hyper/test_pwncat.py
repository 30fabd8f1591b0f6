"""The lab's publisher: real processes of pwncat, on a host of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from hyper.core.model import Publication, Target
from hyper.core.publishing import CHECK, Publishing
from hyper.core.steps import Outcome
from hyper.ports import PublishError
from hyper.ports.chosen import Chosen
from hyper.ports.pwncat import Pwncat, command
from manifests.kinds.node import PublisherKind
from manifests.scalars import Port, Protocol
from tests.hyper.rig import Ports
from tests.netns import Host, echo, hosts

TCP, UDP = Port(8080, 80), Port(8080, 80, Protocol.UDP)
TARGET = Target("127.0.0.1", 80)
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
NFTABLES, PWNCAT = PublisherKind.NFTABLES, PublisherKind.PWNCAT


@pytest.fixture
def host() -> Iterator[Host]:
    with hosts(1) as (made,):
        yield made


@pytest.fixture
def publisher(host: Host) -> Iterator[Pwncat]:
    """Threads, and so the processes that they start, are where the one is that starts them."""
    made = Pwncat()
    yield made
    host.do(made.close)


def eventually(condition: Callable[[], object], patience: float = 15) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def said(host: Host, port: Port = TCP) -> str:
    """The answer of a published echo, "" while there is none."""
    kind = socket.SOCK_DGRAM if port.protocol is Protocol.UDP else socket.SOCK_STREAM
    with suppress(OSError), host.open_socket(kind) as client:
        client.settimeout(1)
        client.connect(("127.0.0.1", port.node))
        client.sendall(b"?")
        return client.recv(100).decode()
    return ""


def processes() -> list[psutil.Process]:
    """Those that this one has started, zombies too."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.status() == psutil.STATUS_ZOMBIE or "pwncat" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.parametrize("port", [TCP, UDP], ids=["tcp", "udp"])
def test_a_port_is_published_and_taken_back(host: Host, publisher: Pwncat, port: Port) -> None:
    with echo(host, 80, "guest"):
        assert host.do(publisher.publish, {port: TARGET}) == {}
        eventually(lambda: said(host, port).startswith("guest"))
        began = time.monotonic()
        host.do(publisher.publish, {})
        took = time.monotonic() - began
        print(f"gone after {took:.3f} s")
        assert said(host, port) == ""
        assert took < 2
        assert processes() == []


def test_a_port_moves_to_another_target(host: Host, publisher: Pwncat) -> None:
    with echo(host, 80, "one"), echo(host, 81, "other"):
        host.do(publisher.publish, {TCP: TARGET})
        eventually(lambda: said(host).startswith("one"))
        (first,) = processes()
        host.do(publisher.publish, {TCP: TARGET})
        assert processes() == [first], "nothing is restarted for the same again"
        moved = {Port(8080, 81): Target("127.0.0.1", 81)}
        assert host.do(publisher.publish, moved) == {}
        eventually(lambda: said(host).startswith("other"))


def test_a_process_that_ends_is_started_again_and_leaves_no_zombie(
    host: Host, publisher: Pwncat
) -> None:
    with echo(host, 80, "guest"):
        host.do(publisher.publish, {TCP: TARGET})
        eventually(lambda: said(host))
        for _ in range(2):
            (old,) = processes()
            old.kill()
            eventually(lambda: said(host))
            (new,) = processes()
            assert new.pid != old.pid


def test_nothing_is_started_while_the_vm_does_not_listen(host: Host, publisher: Pwncat) -> None:
    """pwncat would ask it again and again, without a pause."""
    assert host.do(publisher.publish, {TCP: TARGET}) == {}
    assert processes() == []
    with echo(host, 80, "guest"):
        eventually(lambda: said(host))


def test_a_port_in_use_is_refused_and_taken_when_it_is_free(host: Host, publisher: Pwncat) -> None:
    with echo(host, 80, "guest"):
        with echo(host, TCP.node, "program"):
            refused = host.do(publisher.publish, {TCP: TARGET})
            assert refused == {TCP: "port 8080/tcp of this node is in use by another program"}
            assert said(host).startswith("program")
        eventually(lambda: host.do(publisher.publish, {TCP: TARGET}) == {})
        eventually(lambda: said(host).startswith("guest"))


AGENT = """
import sys
from hyper.core.model import Target
from hyper.ports.pwncat import Pwncat
from manifests.scalars import Port
made = Pwncat()
made.publish({Port(8080, 80): Target("127.0.0.1", 80)})
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_an_agent_that_is_killed_and_the_next_one_publishes(
    host: Host, publisher: Pwncat, number: signal.Signals
) -> None:
    with echo(host, 80, "guest"):
        start = [sys.executable, "-c", AGENT]
        agent = host.do(lambda: subprocess.Popen(start, stdin=subprocess.PIPE))
        eventually(lambda: said(host))
        (child,) = (it for it in processes() if "-L" in it.cmdline())
        agent.send_signal(number)
        agent.communicate()
        eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 2)
        assert said(host) == ""
        assert host.do(publisher.publish, {TCP: TARGET}) == {}
        eventually(lambda: said(host).startswith("guest"))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(PublishError, match="setpriv is missing on the node: apt-get install"):
        command(TCP, TARGET)


@pytest.mark.parametrize("ip", ["-e sh", "host.example", "::1", ""])
def test_only_an_address_reaches_the_command_line(ip: str) -> None:
    with pytest.raises(PublishError, match="is not an address"):
        command(TCP, Target(ip, 80))


# -- which publisher


def test_the_chosen_one_publishes_and_the_other_gives_up_what_it_had() -> None:
    made = {NFTABLES: Ports(), PWNCAT: Ports()}
    chosen = [NFTABLES]
    publisher = Chosen(made, lambda: chosen[0], set())
    wanted: Publication = {TCP: TARGET}
    publisher.publish(wanted)
    assert [it.published for it in made.values()] == [wanted, {}]
    chosen[0] = PWNCAT
    publisher.publish(wanted)
    assert [it.published for it in made.values()] == [{}, wanted]
    publisher.close()
    assert [it.published for it in made.values()] == [{}, {}]


def test_what_an_earlier_agent_left_is_given_up() -> None:
    made = {NFTABLES: Ports(published={UDP: TARGET}), PWNCAT: Ports()}
    Chosen(made, lambda: PWNCAT, {NFTABLES}).publish({TCP: TARGET})
    assert [it.published for it in made.values()] == [{}, {TCP: TARGET}]


def test_another_publisher_is_a_reason_to_publish_anew() -> None:
    publishing, wanted = Publishing(), {TCP: TARGET}
    step, _ = publishing.step(wanted, 0.0, NFTABLES)
    assert step is not None
    publishing.finished(step, Outcome(ticket=1), 0.0)
    assert publishing.step(wanted, 1.0, NFTABLES) == (None, [CHECK])
    again, _ = publishing.step(wanted, 1.0, PWNCAT)
    assert again is not None
    assert again.by is PWNCAT
