"""Which ports of the node its own programs have.

The kernel tells of no new listener, so this looks every LOOK seconds and tells of changes only. It
asks as `ss` does (sock_diag): that costs what there are listeners, where reading /proc/net/tcp costs
what connections the host could have. Whose a socket is, is looked up only of new ones.

What counts is what would be in the way of a published port, which is on every address of IPv4: a
listener on any of them, the loopback's too (a published port fails beside it, or hides it), and a
wildcard of IPv6 that takes IPv4 along. Not here: what a listener is in the way of.
"""

import errno
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hyper.ports.netlink import DUMP, answers, attributes, opened, send
from manifests.scalars import Protocol
from manifests.wire import Listener

LOOK = 2.0
"""Seconds between two looks."""
NETLINK_SOCK_DIAG, BY_FAMILY = 4, 20
WANTED = {Protocol.TCP: (socket.IPPROTO_TCP, 1 << 10), Protocol.UDP: (socket.IPPROTO_UDP, 1 << 7)}
"""Each protocol's number and the state that is asked for: listening, unconnected."""
REQUEST = struct.Struct("=BBxxI48x")
FOUND = struct.Struct("!4xHH16s16x28x4s")
"""Of the kernel's answer: own port, the peer's, own address, inode (in the host's byte order)."""
ONLY_IPV6 = 11
ANY, MAPPED = bytes(16), bytes(10) + b"\xff\xff"
INIT = 1
PROC = Path("/proc")

log = logging.getLogger("hyper")


@dataclass(frozen=True, slots=True, order=True)
class Socket:
    protocol: Protocol
    port: int
    inode: int


class Listeners:
    """What this process and its children listen on is left out."""

    def __init__(self) -> None:
        self._seen: frozenset[Socket] = frozenset()
        self._lasting: frozenset[Socket] = frozenset()
        self._names: dict[int, str | None] = {}
        """Who has a socket, by inode; None: we."""
        self._found: tuple[Listener, ...] = ()
        self._trouble = ""
        self._closing = threading.Event()

    def watch(self, tell: Callable[[tuple[Listener, ...]], None]) -> None:
        """Tell what there is, at once, and then of every change from a thread of its own."""
        self._look_and_tell(tell)
        threading.Thread(target=self._run, args=(tell,), name="listeners", daemon=True).start()

    def close(self) -> None:
        self._closing.set()

    def _run(self, tell: Callable[[tuple[Listener, ...]], None]) -> None:
        while not self._closing.wait(LOOK):
            self._look_and_tell(tell)

    def _look_and_tell(self, tell: Callable[[tuple[Listener, ...]], None]) -> None:
        before, trouble = self._found, ""
        try:
            if self.look() != before:
                tell(self._found)
        except OSError as error:
            trouble = str(error)
        if trouble and trouble != self._trouble:
            log.warning("the node's listeners cannot be read: %s", trouble)
        self._trouble = trouble

    def look(self) -> tuple[Listener, ...]:
        """Those who listen now, by protocol and port. A UDP socket counts from the second look that
        finds it: most are gone by then. Raises OSError."""
        sockets = frozenset(sockets_here())
        lasting = frozenset(it for it in sockets if it.protocol is Protocol.TCP or it in self._seen)
        self._seen = sockets
        if lasting != self._lasting:
            self._found = self._named(lasting)
            self._lasting = lasting
        return self._found

    def _named(self, sockets: frozenset[Socket]) -> tuple[Listener, ...]:
        there = {it.inode for it in sockets}
        known = {inode: name for inode, name in self._names.items() if inode in there}
        self._names = known | owners(there - known.keys())
        names: dict[tuple[Protocol, int], str] = {}
        for it in sorted(sockets, reverse=True):
            if (name := self._names[it.inode]) is not None:
                names[it.protocol, it.port] = name or names.get((it.protocol, it.port), "")
        return tuple(
            Listener(protocol=protocol, port=port, process=name)
            for (protocol, port), name in sorted(names.items())
        )


def sockets_here() -> Iterator[Socket]:
    """The sockets of this network namespace that are in the way of a published port."""
    with opened(NETLINK_SOCK_DIAG) as link:
        for protocol, (number, states) in WANTED.items():
            for family in (socket.AF_INET, socket.AF_INET6):
                send(link, BY_FAMILY, DUMP, REQUEST.pack(family, number, states))
                for body in answers(link):
                    port, peer, address, inode = FOUND.unpack_from(body)
                    if not peer and (family == socket.AF_INET or _takes_ipv4(address, body)):
                        yield Socket(protocol, port, struct.unpack("=I", inode)[0])


def _takes_ipv4(address: bytes, body: bytes) -> bool:
    if address == ANY:
        return attributes(body[FOUND.size :]).get(ONLY_IPV6, b"\0") == b"\0"
    return address.startswith(MAPPED)


def owners(inodes: set[int]) -> dict[int, str | None]:
    """The names of the programs that have these sockets: "" where it is not known, None where it is
    this process or a child of it."""
    found: dict[int, str | None] = dict.fromkeys(inodes, "")
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    pids = (int(entry) for entry in os.listdir(PROC) if entry.isdecimal()) if inodes else ()
    # The latest first; process 1 last, which holds sockets for others.
    for pid in sorted(pids, key=lambda pid: (pid == INIT, -pid)):
        if not wanted:
            break
        for link in _links(pid) & wanted.keys():
            found[wanted.pop(link)] = _name(pid)
    return found


def _links(pid: int) -> set[str]:
    links = set()
    with suppress(OSError), os.scandir(PROC / str(pid) / "fd") as entries:
        for entry in entries:
            with suppress(OSError):  # closed meanwhile
                links.add(os.readlink(entry.path))
    return links


def _name(pid: int) -> str | None:
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return ""
    name, _, rest = stat.partition("(")[2].rpartition(")")
    if os.getpid() in (pid, int(rest.split()[1])):
        return None
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def listened_on(protocol: Protocol, port: int) -> bool:
    """Whether a program on the node has the port now, on any address of IPv4."""
    kind = socket.SOCK_DGRAM if protocol is Protocol.UDP else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False
