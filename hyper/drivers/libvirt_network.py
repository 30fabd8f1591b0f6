"""The network that an agent's VMs are on: addresses chosen by us, so that nobody polls for leases.

Each address of the network has a MAC of its own, fixed from the start, and dnsmasq knows all pairs
when the network is made. A VM takes a free address and with it that MAC: no call to libvirt, nothing
to remove afterwards, and no lease of an earlier owner in the way of the next.
"""

import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from itertools import chain
from pathlib import Path

from hyper.drivers import DriverError
from hyper.drivers.domain_xml import Network, network_xml, parse_network
from hyper.drivers.libvirt_connection import Connection, Gone

POOLS = (
    IPv4Network("10.77.0.0/16"),
    IPv4Network("172.29.0.0/16"),
    IPv4Network("192.168.208.0/20"),
)
ROUTES = Path("/proc/net/route")


class VmNetwork:
    """Transient: libvirt forgets it with the host's boot, and `ensure` makes it again as it was."""

    def __init__(
        self, ident: str, connection: Connection, in_use: Callable[[str], Mapping[str, str]]
    ) -> None:
        """`in_use` tells the addresses on the network of a name, by the UUID of the VM."""
        if not re.fullmatch("[a-z0-9]{1,8}", ident):
            raise ValueError(f"{ident!r} is no id of a network: 1 to 8 of a-z and 0-9")
        self.name = f"iaas-{ident}"
        self.bridge = f"viaas{ident}"
        self._connection = connection
        self._in_use = in_use
        self._lock = threading.Lock()
        self._subnet: IPv4Network | None = None
        self._taken: dict[str, IPv4Address] = {}

    def ensure(self) -> None:
        """Have the network, whatever became of it; VMs that exist keep their addresses."""
        with self._lock:
            self._subnet = self._ensure()

    def _ensure(self) -> IPv4Network:
        taken = {key: IPv4Address(ip) for key, ip in self._in_use(self.name).items()}
        self._taken = taken | self._taken
        networks = self._networks()
        for network in networks:
            if network.name == self.name and network.subnets:
                return network.subnets[0]
        return self._make(sorted(taken.values()), networks)

    def _networks(self) -> list[Network]:
        found = []
        with self._connection.use("list its networks") as conn:
            items = conn.listAllNetworks()
        for item in items:
            with suppress(Gone), self._connection.use("look at a network"):
                found.append(parse_network(item.XMLDesc()))
        return found

    def _make(self, addresses: list[IPv4Address], networks: list[Network]) -> IPv4Network:
        if addresses:
            candidates: Iterator[IPv4Network] = iter(
                [IPv4Network((addresses[0], 24), strict=False)]
            )
        else:
            taken = [*routes(ROUTES.read_text()), *chain(*(item.subnets for item in networks))]
            candidates = free_subnets(taken)
        error = DriverError("no subnet is free for the VMs of this node")
        for subnet, _ in zip(candidates, range(8), strict=False):
            xml = network_xml(self.name, self.bridge, subnet, dict(self._hosts(subnet)))
            try:
                with self._connection.use(f"make the network {self.name} with {subnet}") as conn:
                    conn.networkCreateXML(xml)
                return subnet
            except DriverError as failed:  # somebody has taken it meanwhile
                error = failed
        raise error

    def _hosts(self, subnet: IPv4Network) -> Iterator[tuple[str, IPv4Address]]:
        return ((self.mac(address), address) for address in list(subnet.hosts())[1:])

    def mac(self, address: IPv4Address) -> str:
        """Of the address, not of the VM: the same on every network made anew under this name."""
        start = hashlib.sha256(self.name.encode()).digest()[:2]
        parts = (0x52, 0x54, 0x00, *start, int(address) & 0xFF)
        return ":".join(f"{byte:02x}" for byte in parts)

    def take(self, key: str) -> IPv4Address:
        """A free address for the VM `key`, the same at each call, and seldom one just given up."""
        with self._lock:
            if self._subnet is None:
                self._subnet = self._ensure()
            if (mine := self._taken.get(key)) is not None and mine in self._subnet:
                return mine
            free = sorted(set(list(self._subnet.hosts())[1:]) - set(self._taken.values()))
            if not free:
                raise DriverError(f"all addresses of the network {self.name} are taken")
            start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
            self._taken[key] = free[start % len(free)]
            return self._taken[key]

    def release(self, key: str) -> None:
        with self._lock:
            self._taken.pop(key, None)

    def destroy(self) -> None:
        with self._lock:
            self._subnet = None
            with suppress(Gone), self._connection.use(f"remove the network {self.name}") as conn:
                conn.networkLookupByName(self.name).destroy()


def routes(table: str) -> list[IPv4Network]:
    """The destinations in the text of /proc/net/route, without the default route."""
    rows = (line.split() for line in table.splitlines()[1:])
    nets = (
        IPv4Network((_address(row[1]), str(_address(row[7]))), strict=False)
        for row in rows
        if len(row) > 7
    )
    return [net for net in nets if net.prefixlen]


def _address(digits: str) -> IPv4Address:
    return IPv4Address(int.from_bytes(bytes.fromhex(digits), "little"))


def free_subnets(taken: Iterable[IPv4Network]) -> Iterator[IPv4Network]:
    used = list(taken)
    for pool in POOLS:
        for subnet in pool.subnets(new_prefix=24):
            if not any(subnet.overlaps(other) for other in used):
                yield subnet
