"""Ending connections that the kernel translates: entries of its connection table, by netlink.

A translation outlives its rule for as long as packets come. Without its entry the next packet meets
the rules of today: a client of a removed port is reset at once, a sender of datagrams reaches the
new target. Here: the messages, with nothing but a socket. Not here: which connections to end.
"""

import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

NETLINK_NETFILTER = 12
GET, DELETE = 0x101, 0x102
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
ERROR, DONE = 2, 3
ORIGINAL, REPLY, STATUS, STATUS_MASK = 1, 2, 3, 26
DESTINATION_NAT = 1 << 5
NESTED = 0x8000
TYPE_MASK = 0x3FFF
PROTOCOLS = {6: "tcp", 17: "udp"}
TIMEOUT = 5.0
BUFFER = 1 << 20

HEADER = struct.Struct("=IHHII")
GENERIC = struct.pack("=BBH", socket.AF_INET, 0, 0)
ATTRIBUTE = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection that came to `port` of this host and was led to `ip` and `target`."""

    protocol: str
    port: int
    ip: str
    target: int


def end_flows(doomed: Callable[[Flow], bool]) -> int:
    """Forget the translated connections that `doomed` names; how many. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as link:
        link.settimeout(TIMEOUT)
        link.bind((0, 0))
        found = [original for flow, original in _dump(link) if doomed(flow)]
        for original in found:
            _send(link, DELETE, ACK, _attribute(ORIGINAL | NESTED, original))
            for _ in _answers(link):
                pass
        return len(found)


def _dump(link: socket.socket) -> Iterator[tuple[Flow, bytes]]:
    status = struct.pack("!I", DESTINATION_NAT)
    # older kernels ignore the filter and send all; the status is looked at again below
    _send(link, GET, DUMP, _attribute(STATUS, status) + _attribute(STATUS_MASK, status))
    for body in _answers(link):
        entry = _attributes(body[4:])
        if struct.unpack("!I", entry.get(STATUS, bytes(4)))[0] & DESTINATION_NAT:
            flow = _flow(entry[ORIGINAL], entry[REPLY])
            if flow is not None:
                yield flow, entry[ORIGINAL]


def _flow(original: bytes, reply: bytes) -> Flow | None:
    asked, answered = _attributes(original), _attributes(reply)
    protocol, source = _attributes(asked[2]), _attributes(answered[2])
    name = PROTOCOLS.get(protocol[1][0])
    if name is None:
        return None
    return Flow(
        protocol=name,
        port=int.from_bytes(protocol[3], "big"),
        ip=str(IPv4Address(_attributes(answered[1])[1])),
        target=int.from_bytes(source[2], "big"),
    )


def _send(link: socket.socket, kind: int, flags: int, attributes: bytes) -> None:
    body = GENERIC + attributes
    link.send(HEADER.pack(HEADER.size + len(body), kind, REQUEST | flags, 0, 0) + body)


def _answers(link: socket.socket) -> Iterator[bytes]:
    """The bodies of the messages up to the one that ends them. An entry gone already is fine."""
    while True:
        data = link.recv(BUFFER)
        while data:
            length, kind, _, _, _ = HEADER.unpack_from(data)
            body, data = data[HEADER.size : length], data[_aligned(length) :]
            if kind == DONE:
                return
            if kind == ERROR:
                code = -int(struct.unpack_from("=i", body)[0])
                if code not in (0, 2):
                    raise OSError(code, "the kernel refused to end a connection")
                return
            yield body


def _attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(_aligned(len(value)) - len(value))
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + padding


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data)
        found[kind & TYPE_MASK] = data[ATTRIBUTE.size : length]
        data = data[_aligned(length) :]
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3
