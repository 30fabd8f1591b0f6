"""What a published port is like, of a container and of a VM: for many at once, from everywhere, gone at
once after a stop, back after a restart of the agent and of the host. The engines are real; the other
host is a network namespace."""

import errno
import http.client
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import psutil
import pytest

from hyper.engines import ident
from tests.e2e.cluster import Cluster
from tests.e2e.documents import machine
from tests.e2e.engines import said
from tests.e2e.ports import fetch, free_port, until
from tests.netns import Host, echo, hosts, run

pytestmark = [pytest.mark.docker, pytest.mark.libvirt, pytest.mark.timeout(200)]

AT_ONCE = 200
GONE = 2.0
"""Seconds after a stop; the aim is one, the rest is for a busy machine."""
NODE, OUTSIDE = "192.0.2.129", "192.0.2.130"
KINDS = ["web", "vm"]
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def outside() -> Iterator[Host]:
    """Another host, that reaches this one at NODE."""
    with hosts(1) as (host,):
        peer = f"e2e{host.name[-8:]}"
        run("ip", "link", "add", peer, "type", "veth", "peer", "name", "eth0", "netns", host.name)
        try:
            run("ip", "address", "add", f"{NODE}/30", "dev", peer)
            run("ip", "link", "set", peer, "up")
            host.ip("address", "add", f"{OUTSIDE}/30", "dev", "eth0")
            host.ip("link", "set", "eth0", "up")
            yield host
        finally:
            run("ip", "link", "del", peer)


def port_of(cluster: Cluster, kind: str) -> int:
    return cluster.web_port if kind == "web" else cluster.vm_port


def connects(outside: Host, origin: str) -> Callable[[int], socket.socket]:
    if origin == "another host":
        return lambda port: outside.connect(NODE, port)
    address = "127.0.0.1" if origin == "the loopback" else NODE
    return lambda port: socket.create_connection((address, port), timeout=5)


@pytest.mark.parametrize("origin", ["another host", "the node", "the loopback"])
@pytest.mark.parametrize("kind", KINDS)
def test_many_connections_are_open_and_answered_at_once(
    cluster: Cluster, outside: Host, kind: str, origin: str
) -> None:
    cluster.settle()
    port, connect = port_of(cluster, kind), connects(outside, origin)
    began = time.monotonic()
    with ExitStack() as stack, ThreadPoolExecutor(20) as pool:
        clients = [stack.enter_context(it) for it in pool.map(connect, [port] * AT_ONCE)]
        for client in clients:
            client.settimeout(30)
        answers = list(pool.map(asked, clients))
    print(f"{AT_ONCE} connections in {time.monotonic() - began:.2f} s")
    assert answers == ["404"] * AT_ONCE


def asked(client: socket.socket) -> str:
    """The status of a page that there is not: what costs the small machines least."""
    client.sendall(b"GET /none HTTP/1.0\r\n\r\n")
    return client.recv(200).decode().split()[1]


def test_datagrams_reach_a_container_from_everywhere(cluster: Cluster, outside: Host) -> None:
    """Those to a VM: tests/hyper/test_nftables.py; what our small images are made of knows no UDP."""
    port = free_port()
    cluster.apply(machine("udp", "web", ports=[f"{port}:53/udp"]))
    pid = cluster.engines.container(cluster.lab, "udp")["State"]["Pid"]
    inside = Host.of_process(pid)
    try:
        with echo(inside, 53, "inside"):
            for host, address in ((outside, NODE), (None, NODE), (None, "127.0.0.1")):
                assert told(host, address, port).startswith("inside ")
    finally:
        inside.remove()
    cluster.settle()


def told(host: Host | None, address: str, port: int) -> str:
    made = host.open_socket(socket.SOCK_DGRAM) if host else socket.socket(type=socket.SOCK_DGRAM)
    with made:
        made.settimeout(10)
        made.connect((address, port))
        made.send(b"?")
        return made.recv(100).decode()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_machines_port_is_gone_at_once(
    cluster: Cluster, outside: Host, kind: str, record_property: Record
) -> None:
    """For new connections, from everywhere, and for those that are open."""
    cluster.settle()
    port = port_of(cluster, kind)
    open_ = [connects(outside, origin)(port) for origin in ("another host", "the loopback")]
    off = {"state": "stopped"}
    changed = {"web": off} if kind == "web" else {"vm1": off}
    path = cluster.lab.write(*cluster.documents(**changed))
    began = time.monotonic()
    cluster.lab.ctl("apply", "-f", path)
    for origin in ("another host", "the node", "the loopback"):
        until(f"{origin} is refused", lambda o=origin: refused(connects(outside, o), port))
    took = time.monotonic() - began
    for client in open_:
        client.settimeout(GONE)
        assert ended(client), "an open connection outlived its port"
    print(f"{kind}: gone from everywhere {took:.2f} s after the stop was asked for")
    record_property("gone", took)
    assert took <= GONE
    cluster.settle()


def refused(connect: Callable[[int], socket.socket], port: int) -> bool:
    try:
        connect(port).close()
    except OSError as error:
        return error.errno == errno.ECONNREFUSED
    return False


def ended(client: socket.socket) -> bool:
    """Whether the other side is gone: a reset, or the end."""
    with client:
        try:
            client.sendall(b"GET /none HTTP/1.0\r\n\r\n")
            return client.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True


def test_all_is_published_again_after_a_reboot_of_the_host(
    cluster: Cluster, outside: Host, record_property: Record
) -> None:
    """As a reboot leaves it: no machine runs, no rule is there, the files are; the agent starts."""
    cluster.settle()
    cluster.lab.agent.kill()
    own = ident(cluster.lab.state)
    cluster.engines.docker.api.kill(cluster.container()["Id"])
    cluster.domain().destroy()
    cluster.engines.libvirt.networkLookupByName(network(cluster)).destroy()
    run("nft", "delete", "table", "ip", f"iaas_{own}")
    run("iptables", *rule(own))
    began = time.monotonic()
    cluster.lab.agent.start()
    for port in (cluster.web_port, cluster.vm_port):
        until("it answers the other host", lambda p=port: served(outside, p))
        fetch(port)
        fetch(port, NODE)
    print(f"all answers {time.monotonic() - began:.1f} s after the agent was started")
    cluster.settle()


def network(cluster: Cluster) -> str:
    own = ident(cluster.lab.state)
    (name,) = (it.name() for it in cluster.engines.libvirt.listAllNetworks() if own in it.name())
    return str(name)


def rule(own: str) -> list[str]:
    """What removes our rule."""
    (line,) = (it for it in said("iptables", "-S", "FORWARD").splitlines() if f"iaas {own}" in it)
    return ["-D", *shlex.split(line)[1:]]


def served(outside: Host, port: int) -> bool:
    with suppress(OSError, http.client.HTTPException), outside.connect(NODE, port, 2) as client:
        return asked(client) == "404"
    return False


def test_the_labs_publisher_by_setting_and_back(cluster: Cluster, outside: Host) -> None:
    """The node's setting moves the ports of VMs that run; the processes live and die with the agent."""
    cluster.settle()
    documents = cluster.documents()
    documents[0] = {**documents[0], "spec": documents[0]["spec"] | {"publisher": "pwncat"}}
    cluster.lab.apply(*documents)
    (first,) = until("pwncat runs", lambda: forwards(cluster))
    assert f"0.0.0.0:{cluster.vm_port}" in first.cmdline()
    until("it answers", lambda: served(outside, cluster.vm_port))
    assert f"iaas_{ident(cluster.lab.state)}" not in said("nft", "list", "tables")
    described = cluster.lab.ctl("describe", "node", "n1").out
    assert "publisher: " in described
    assert "one client of a VM's port at a time" in described
    shown = cluster.lab.get("node", "n1")["listeners"]
    assert cluster.vm_port not in [it["port"] for it in shown], "it is ours"

    cluster.lab.agent.kill()
    until("it ends with its agent", lambda: not first.is_running(), GONE)
    cluster.lab.agent.start()
    until("it answers again", lambda: served(outside, cluster.vm_port))

    off = cluster.documents(vm1={"state": "stopped"})
    off[0] = documents[0]
    began = time.monotonic()
    cluster.lab.ctl("apply", "-f", cluster.lab.write(*off))
    until("it is gone", lambda: refused(connects(outside, "another host"), cluster.vm_port), GONE)
    print(f"gone {time.monotonic() - began:.2f} s after the stop was asked for")
    cluster.lab.apply(*documents)
    until("it is back", lambda: served(outside, cluster.vm_port))

    cluster.settle()
    assert forwards(cluster) == []


def forwards(cluster: Cluster) -> list[psutil.Process]:
    found = psutil.Process(cluster.lab.agent.pid).children()
    return [it for it in found if any("pwncat" in word for word in it.cmdline())]


def test_no_process_is_left_behind(cluster: Cluster) -> None:
    """After all the publishing of this module."""
    cluster.settle()
    agent = psutil.Process(cluster.lab.agent.pid)
    until("what it started has ended", lambda: not agent.children(recursive=True))
