"""Netlink with nothing but a socket: how messages to the kernel and its answers are laid out.

Not here: what is asked.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
NESTED = 0x8000

ERROR, DONE = 2, 3
TYPE_MASK = 0x3FFF
TIMEOUT = 5.0
BUFFER = 1 << 20

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")


@contextmanager
def opened(protocol: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as link:
        link.settimeout(TIMEOUT)
        link.bind((0, 0))
        yield link


def send(link: socket.socket, kind: int, flags: int, body: bytes) -> None:
    link.send(HEADER.pack(HEADER.size + len(body), kind, REQUEST | flags, 0, 0) + body)


def answers(link: socket.socket) -> Iterator[bytes]:
    """The bodies of the messages up to the one that ends them; raises OSError."""
    while True:
        data = link.recv(BUFFER)
        while data:
            length, kind, _, _, _ = HEADER.unpack_from(data)
            body, data = data[HEADER.size : length], data[aligned(length) :]
            if kind == DONE:
                return
            if kind == ERROR:
                if code := -int(struct.unpack_from("=i", body)[0]):
                    raise OSError(code, "the kernel refused")
                return
            yield body


def attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(aligned(len(value)) - len(value))
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + padding


def attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data)
        found[kind & TYPE_MASK] = data[ATTRIBUTE.size : length]
        data = data[aligned(length) :]
    return found


def aligned(length: int) -> int:
    return (length + 3) & ~3
