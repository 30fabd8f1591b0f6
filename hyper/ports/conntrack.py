"""Ending connections that the kernel translates: entries of its connection table, by netlink.

A translation outlives its rule for as long as packets come. Without its entry the next packet meets
the rules of today: a client of a removed port is reset at once, a sender of datagrams reaches the
new target. Not here: which connections to end.
"""

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from hyper.ports.netlink import ACK, DUMP, NESTED, answers, attribute, attributes, opened, send

NETLINK_NETFILTER = 12
GET, DELETE = 0x101, 0x102
ORIGINAL, REPLY, STATUS, STATUS_MASK = 1, 2, 3, 26
DESTINATION_NAT = 1 << 5
PROTOCOLS = {6: "tcp", 17: "udp"}

GENERIC = struct.pack("=BBH", socket.AF_INET, 0, 0)


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection that came to `port` of this host and was led to `ip` and `target`."""

    protocol: str
    port: int
    ip: str
    target: int


def end_flows(doomed: Callable[[Flow], bool]) -> int:
    """Forget the translated connections that `doomed` names; how many. Raises OSError."""
    with opened(NETLINK_NETFILTER) as link:
        found = [original for flow, original in _dump(link) if doomed(flow)]
        for original in found:
            _end(link, original)
        return len(found)


def _end(link: socket.socket, original: bytes) -> None:
    send(link, DELETE, ACK, GENERIC + attribute(ORIGINAL | NESTED, original))
    try:
        for _ in answers(link):
            pass
    except OSError as error:
        if error.errno != errno.ENOENT:  # gone already is fine
            raise


def _dump(link: socket.socket) -> Iterator[tuple[Flow, bytes]]:
    status = struct.pack("!I", DESTINATION_NAT)
    # older kernels ignore the filter and send all; the status is looked at again below
    send(link, GET, DUMP, GENERIC + attribute(STATUS, status) + attribute(STATUS_MASK, status))
    for body in answers(link):
        entry = attributes(body[4:])
        if struct.unpack("!I", entry.get(STATUS, bytes(4)))[0] & DESTINATION_NAT:
            flow = _flow(entry[ORIGINAL], entry[REPLY])
            if flow is not None:
                yield flow, entry[ORIGINAL]


def _flow(original: bytes, reply: bytes) -> Flow | None:
    asked, answered = attributes(original), attributes(reply)
    protocol, source = attributes(asked[2]), attributes(answered[2])
    name = PROTOCOLS.get(protocol[1][0])
    if name is None:
        return None
    return Flow(
        protocol=name,
        port=int.from_bytes(protocol[3], "big"),
        ip=str(IPv4Address(attributes(answered[1])[1])),
        target=int.from_bytes(source[2], "big"),
    )
