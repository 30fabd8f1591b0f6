"""Where a VM would stand, a network namespace with a fast server: what a publisher itself costs.

The node is a namespace of its own too, with a bridge as libvirt makes it, and another host beside it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from hyper.core.model import Target
from hyper.ports import Publisher
from hyper.ports.nftables import Nftables
from hyper.ports.pwncat import Pwncat
from manifests.scalars import Port
from tests.bench.ways import DIRECT, Group, Way, server
from tests.netns import Host, hosts, link

NODE, OTHER = "198.18.0.1", "198.18.0.2"
GATEWAY, GUEST = "198.18.1.1", "198.18.1.2"
BRIDGE = "viaasbench"
SERVED = 80
PUBLISHERS: dict[str, Callable[[], Publisher]] = {
    "nftables": lambda: Nftables("bench", BRIDGE),
    "pwncat": Pwncat,
}


@contextmanager
def standing_in() -> Iterator[Group]:
    with hosts(3) as (node, other, guest), ExitStack() as stack:
        wire(node, other, guest)
        stack.enter_context(server(inside(guest), SERVED))
        ports = {name: 8000 + number for number, name in enumerate(PUBLISHERS)}
        for name, port in ports.items():
            publisher = PUBLISHERS[name]()
            stack.callback(node.do, publisher.close)
            node.do(publisher.publish, {Port(port, SERVED): Target(GUEST, SERVED)})
        found = list(ways(inside(other), inside(node), ports))
        yield Group("The publisher itself: a fast server in a namespace, no machine", found)


def wire(node: Host, other: Host, guest: Host) -> None:
    node.sysctl("net.ipv4.ip_forward", "1")
    node.ip("link", "add", BRIDGE, "type", "bridge")
    node.ip("link", "set", BRIDGE, "up")
    node.ip("address", "add", f"{GATEWAY}/24", "dev", BRIDGE)
    link(node, "eth0", other, "eth0")
    link(node, "vnet0", guest, "eth0")
    node.ip("link", "set", "vnet0", "master", BRIDGE)
    node.ip("address", "add", f"{NODE}/24", "dev", "eth0")
    other.ip("address", "add", f"{OTHER}/24", "dev", "eth0")
    guest.ip("address", "add", f"{GUEST}/24", "dev", "eth0")
    other.ip("route", "add", "default", "via", NODE)
    guest.ip("route", "add", "default", "via", GATEWAY)


def ways(other: tuple[str, ...], node: tuple[str, ...], ports: dict[str, int]) -> Iterator[Way]:
    for origin, where, address in (
        ("another host", other, NODE),
        ("the node", node, NODE),
        ("127.0.0.1", node, "127.0.0.1"),
    ):
        if address == NODE:
            yield Way(origin, DIRECT, GUEST, SERVED, where)
        for name, port in ports.items():
            yield Way(origin, name, address, port, where)


def inside(host: Host) -> tuple[str, ...]:
    return ("ip", "netns", "exec", host.name)
