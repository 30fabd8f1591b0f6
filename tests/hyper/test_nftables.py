"""The publisher of VM ports on a real kernel: a node, its VMs and another host, as namespaces."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hyper.core.model import Publication, Target
from hyper.ports import PublishError, nftables
from hyper.ports.nftables import CHECK_SECONDS, Nftables
from manifests.scalars import Port, Protocol
from tests.netns import Host, echo, hosts, link

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces take root")

NODE, OTHER = "198.51.100.1", "198.51.100.2"
GUESTS = ("10.77.0.2", "10.77.0.3")
GATEWAY = "10.77.0.1"
BRIDGE = "viaastest"
TCP, UDP = Port(8080, 80), Port(5353, 80, Protocol.UDP)
LIBVIRT_AND_DOCKER = f"""*filter
:FORWARD DROP
:LIBVIRT_FWX -
:LIBVIRT_FWI -
:LIBVIRT_FWO -
:DOCKER-USER -
-A FORWARD -j LIBVIRT_FWX
-A FORWARD -j LIBVIRT_FWI
-A FORWARD -j LIBVIRT_FWO
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -j RETURN
-A LIBVIRT_FWX -i {BRIDGE} -o {BRIDGE} -j ACCEPT
-A LIBVIRT_FWI -d 10.77.0.0/24 -o {BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A LIBVIRT_FWI -o {BRIDGE} -j REJECT --reject-with icmp-port-unreachable
-A LIBVIRT_FWO -s 10.77.0.0/24 -i {BRIDGE} -j ACCEPT
-A LIBVIRT_FWO -i {BRIDGE} -j REJECT --reject-with icmp-port-unreachable
COMMIT
"""


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    node: Host
    other: Host
    guests: tuple[Host, Host]

    def publisher(self, clock: Clock | None = None) -> "OnNode":
        return OnNode(self.node, clock or Clock())

    def ask(self, host: Host, address: str, port: Port = TCP, timeout: float = 5) -> str:
        if port.protocol is Protocol.TCP:
            with host.connect(address, port.node, timeout) as client:
                client.sendall(b"?\n")
                return client.recv(100).decode()
        with host.open_socket(socket.SOCK_DGRAM) as client:
            client.settimeout(timeout)
            client.connect((address, port.node))
            client.send(b"?")
            return client.recv(100).decode()

    def rules(self) -> str:
        """All of the node, without counts of packets."""
        return self.node.run("nft", "--stateless", "list", "ruleset")


class OnNode:
    """The publisher, run on the node."""

    def __init__(self, node: Host, clock: Clock, ident: str = "test", bridge: str = BRIDGE) -> None:
        self._node = node
        self._publisher = Nftables(ident, bridge, clock)

    def publish(self, wanted: Publication) -> Mapping[Port, str]:
        return self._node.do(self._publisher.publish, wanted)

    def close(self) -> None:
        self._node.do(self._publisher.close)


@pytest.fixture
def site() -> Iterator[Site]:
    with hosts(4) as (node, other, *guests), ExitStack() as stack:
        node.sysctl("net.ipv4.ip_forward", "1")
        link(node, "eth0", other, "eth0")
        node.ip("address", "add", f"{NODE}/24", "dev", "eth0")
        other.ip("address", "add", f"{OTHER}/24", "dev", "eth0")
        node.ip("link", "add", BRIDGE, "type", "bridge")
        node.ip("link", "set", BRIDGE, "up")
        node.ip("address", "add", f"{GATEWAY}/24", "dev", BRIDGE)
        for index, (guest, address) in enumerate(zip(guests, GUESTS, strict=True)):
            link(node, f"vnet{index}", guest, "eth0")
            node.ip("link", "set", f"vnet{index}", "master", BRIDGE)
            guest.ip("address", "add", f"{address}/24", "dev", "eth0")
            guest.ip("route", "add", "default", "via", GATEWAY)
            stack.enter_context(echo(guest, 80, f"guest{index}"))
        node.do(restore, LIBVIRT_AND_DOCKER)
        yield Site(node, other, (guests[0], guests[1]))


def restore(text: str) -> None:
    nftables._run("iptables-restore", "--noflush", text=text)


def both(guest: int = 0) -> dict[Port, Target]:
    return {TCP: Target(GUESTS[guest], 80), UDP: Target(GUESTS[guest], 80)}


def refused(action: Callable[[], object]) -> bool:
    try:
        action()
    except ConnectionRefusedError:
        return True
    return False


def exchange(client: socket.socket) -> bytes:
    client.sendall(b"?")
    return client.recv(100)


@pytest.mark.parametrize("port", [TCP, UDP], ids=["tcp", "udp"])
def test_a_published_port_answers_everywhere(site: Site, port: Port) -> None:
    site.publisher().publish(both())

    assert site.ask(site.other, NODE, port) == f"guest0 {OTHER}"
    assert site.ask(site.node, NODE, port) == f"guest0 {NODE}"
    assert site.ask(site.node, "127.0.0.1", port) == f"guest0 {GATEWAY}"
    assert site.ask(site.node, GATEWAY, port) == f"guest0 {GATEWAY}"


@pytest.mark.parametrize("port", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.parametrize("address", [NODE, GATEWAY])
@pytest.mark.parametrize("filtered", [False, True], ids=["routed", "br_netfilter"])
def test_a_published_port_answers_vms(site: Site, port: Port, address: str, filtered: bool) -> None:
    """With Docker on the node bridged packets pass the rules too (br_netfilter). A bridge returns
    nothing to the port it came from, so that a VM then does not reach itself this way."""
    if Path("/proc/sys/net/bridge").exists():
        site.node.sysctl("net.bridge.bridge-nf-call-iptables", str(int(filtered)))
    site.publisher().publish(both())

    assert site.ask(site.guests[1], address, port).startswith("guest0 ")
    if not filtered:
        assert site.ask(site.guests[0], address, port).startswith("guest0 ")


def test_nothing_else_is_opened(site: Site) -> None:
    site.other.ip("route", "add", "10.77.0.0/24", "via", NODE)
    site.publisher().publish(both())

    with pytest.raises(OSError):
        site.ask(site.other, GUESTS[0], Port(80, 80), timeout=1)
    with pytest.raises(OSError):
        site.ask(site.other, NODE, Port(8081, 80), timeout=1)
    with pytest.raises(OSError):
        site.ask(site.other, NODE, Port(8080, 80, Protocol.UDP), timeout=1)


def test_many_connections_at_once(site: Site) -> None:
    site.publisher().publish(both())

    def talk(_: int) -> bool:
        with site.other.connect(NODE, 8080) as client:
            for _ in range(5):
                client.sendall(b"?")
                if client.recv(100) != f"guest0 {OTHER}".encode():
                    return False
        return True

    with ThreadPoolExecutor(50) as pool:
        assert all(pool.map(talk, range(500)))


def test_a_port_that_is_taken_back_is_refused_at_once(site: Site) -> None:
    publisher = site.publisher()
    publisher.publish(both())
    assert site.ask(site.other, NODE)

    publisher.publish({})

    for host, address in ((site.other, NODE), (site.node, NODE), (site.node, "127.0.0.1")):
        assert refused(lambda host=host, address=address: site.ask(host, address))
        assert refused(lambda host=host, address=address: site.ask(host, address, UDP))


def test_established_connections_end_with_their_port(site: Site) -> None:
    publisher = site.publisher()
    publisher.publish(both())
    clients = [
        host.connect(address, 8080)
        for host, address in (
            (site.other, NODE),
            (site.node, NODE),
            (site.node, "127.0.0.1"),
            (site.guests[1], NODE),
        )
    ]
    for client in clients:
        client.sendall(b"?")
        assert client.recv(100)

    publisher.publish({UDP: Target(GUESTS[0], 80)})

    begin = time.monotonic()
    for client in clients:
        with client, pytest.raises(ConnectionResetError):
            exchange(client)
    assert time.monotonic() - begin < 1
    assert site.ask(site.other, NODE, UDP)


def test_established_connections_are_cut_by_the_table_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways: a VM that only sends is silenced too."""
    monkeypatch.setattr(nftables, "end_flows", lambda doomed: 0)
    publisher = site.publisher()
    publisher.publish(both())
    with site.other.connect(NODE, 8080) as client, site.other.connect(NODE, 8080) as second:
        for talker in (client, second):
            talker.sendall(b"?")
            assert talker.recv(100)

        publisher.publish({Port(8081, 80): Target(GUESTS[0], 80)})

        client.sendall(b"?")
        second.settimeout(0.5)
        client.settimeout(0.5)
        for talker in (client, second):
            with pytest.raises(TimeoutError):
                talker.recv(100)
        publisher.publish(both())
        client.settimeout(5)
        assert client.recv(100)


def test_a_sender_of_datagrams_reaches_the_new_target(site: Site) -> None:
    publisher = site.publisher()
    publisher.publish(both(0))
    with site.other.open_socket(socket.SOCK_DGRAM) as client:
        client.connect((NODE, UDP.node))
        client.send(b"?")
        assert client.recv(100).startswith(b"guest0")

        publisher.publish(both(1))

        client.send(b"?")
        assert client.recv(100).startswith(b"guest1")


def test_other_connections_survive_a_change(site: Site) -> None:
    publisher = site.publisher()
    publisher.publish({TCP: Target(GUESTS[0], 80), Port(8081, 80): Target(GUESTS[1], 80)})
    with site.other.connect(NODE, 8081) as client:
        client.sendall(b"?")
        assert client.recv(100)

        publisher.publish({Port(8081, 80): Target(GUESTS[1], 80)})

        client.sendall(b"?")
        assert client.recv(100).startswith(b"guest1")


def test_an_agent_that_starts_again_changes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.publisher().publish(both())
    before = site.rules()
    calls = record(monkeypatch)
    with site.other.connect(NODE, 8080) as client:
        again = site.publisher()
        again.publish(both())

        client.sendall(b"?")
        assert client.recv(100)
        assert [call for call in calls if call[:2] == ("nft", "-f") or "restore" in call[0]] == []
        calls.clear()
        again.publish(both())
        assert calls == []
    assert site.rules() == before
    again.publish({})
    assert refused(lambda: site.ask(site.other, NODE))


def record(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    calls = []
    run = nftables._run

    def recorded(*command: str, **options: Any) -> Any:
        calls.append(command)
        return run(*command, **options)

    monkeypatch.setattr(nftables, "_run", recorded)
    return calls


@pytest.mark.parametrize(
    "damage",
    [
        ("nft", "delete", "table", "ip", "iaas_test"),
        ("nft", "flush", "map", "ip", "iaas_test", nftables.MAP),
        ("nft", "flush", "set", "ip", "iaas_test", "flows"),
        ("nft", "flush", "chain", "ip", "iaas_test", "prerouting"),
        ("iptables", "-D", "FORWARD", "1"),
        ("iptables", "-I", "FORWARD", "1", "-j", "LIBVIRT_FWI"),
    ],
    ids=["table", "map", "set", "chain", "rule", "order"],
)
def test_what_somebody_breaks_is_mended(site: Site, damage: tuple[str, ...]) -> None:
    clock = Clock()
    publisher = site.publisher(clock)
    publisher.publish(both())
    site.node.run(*damage)
    with pytest.raises(OSError):
        site.ask(site.other, NODE, timeout=1)

    clock.now += CHECK_SECONDS
    publisher.publish(both())

    assert site.ask(site.other, NODE)
    assert site.node.run("iptables", "-S", "FORWARD").count("iaas test") == 1


def test_a_bridge_made_anew_is_reached_from_localhost(site: Site) -> None:
    publisher = site.publisher()
    publisher.publish(both())
    site.node.sysctl(f"net.ipv4.conf.{BRIDGE}.route_localnet", "0")

    publisher.publish(both())

    assert site.ask(site.node, "127.0.0.1")


def test_a_vm_does_not_reach_what_listens_on_the_nodes_localhost(site: Site) -> None:
    publisher = site.publisher()
    publisher.publish(both())
    guest = site.guests[1]
    guest.ip("link", "set", "lo", "down")
    guest.ip("address", "flush", "dev", "lo")
    guest.sysctl("net.ipv4.conf.all.route_localnet", "1")
    guest.ip("route", "add", "127.0.0.1", "via", GATEWAY, "src", GUESTS[1])
    with site.node.open_socket() as secret:
        secret.bind(("127.0.0.1", 9999))
        secret.listen()

        for port in (9999, 8080):
            with pytest.raises(TimeoutError):
                guest.connect("127.0.0.1", port, timeout=0.7)

        site.node.run("nft", "flush", "chain", "ip", "iaas_test", "martians")
        guest.connect("127.0.0.1", 9999, timeout=2).close()


def test_a_port_that_another_agent_publishes_is_refused_until_it_is_free(site: Site) -> None:
    """The other has a bridge of its own, on which nobody is here."""
    first, second = site.publisher(), OnNode(site.node, Clock(), "test2", "other0")
    first.publish({TCP: Target(GUESTS[0], 80)})
    refused = second.publish(both(1))
    assert refused == {TCP: "port 8080/tcp of this node is published by another agent (iaas_test)"}
    assert site.ask(site.other, NODE, TCP).startswith("guest0 ")
    assert first.publish(both()) == {
        UDP: "port 5353/udp of this node is published by another agent (iaas_test2)"
    }
    first.publish({})
    assert second.publish(both(1)) == {}


def test_close_leaves_no_trace(site: Site) -> None:
    before = site.rules()
    publisher = site.publisher()
    publisher.close()
    assert site.rules() == before
    publisher.publish(both())
    with site.other.connect(NODE, 8080) as client:
        client.sendall(b"?")
        assert client.recv(100)

        publisher.close()
        publisher.close()

        with pytest.raises(ConnectionResetError):
            exchange(client)
    assert site.rules() == before
    setting = f"net.ipv4.conf.{BRIDGE}.route_localnet"
    assert site.node.sysctl(setting) == "0"


def test_ten_thousand_ports(site: Site) -> None:
    many = {Port(20000 + number, 80): Target(GUESTS[0], 80) for number in range(10_000)}
    publisher = site.publisher()

    publisher.publish(many)
    assert site.ask(site.other, NODE, Port(29_999, 80)).startswith("guest0")

    publisher.publish(many | both())
    assert site.ask(site.other, NODE)
    site.publisher().publish(many)
    assert refused(lambda: site.ask(site.other, NODE))


@pytest.mark.parametrize(
    ("port", "target"),
    [
        (TCP, Target("10.77.0.2; flush ruleset", 80)),
        (TCP, Target("10.77.0.2\n", 80)),
        (TCP, Target("fe80::1", 80)),
        (TCP, Target("", 80)),
        (TCP, Target(GUESTS[0], 0)),
        (Port(65536, 80), Target(GUESTS[0], 80)),
        (Port("80 ; flush ruleset", 80), Target(GUESTS[0], 80)),  # type: ignore[arg-type]
    ],
)
def test_only_numbers_and_addresses_reach_the_kernel(
    site: Site, port: Port, target: Target
) -> None:
    before = site.rules()
    with pytest.raises(PublishError):
        site.publisher().publish({port: target})
    assert site.rules() == before


@pytest.mark.parametrize(("ident", "bridge"), [("", "b"), ("a b", "b"), ("a" * 9, "b"), ("a", '"')])
def test_names_that_nft_could_read_otherwise_are_no_names(ident: str, bridge: str) -> None:
    with pytest.raises(ValueError):
        Nftables(ident, bridge)


def test_a_missing_nft_is_named_with_its_package(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PublishError, match="apt-get install nftables"):
        Nftables("test", BRIDGE).publish({})


def test_after_a_failure_the_kernel_is_asked_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    publisher = site.publisher()
    publisher.publish({})
    with monkeypatch.context() as context:
        context.setenv("PATH", str(tmp_path))
        with suppress(PublishError):
            publisher.publish(both())
            pytest.fail("it was said to be published")
    publisher.publish(both())
    assert site.ask(site.other, NODE)
