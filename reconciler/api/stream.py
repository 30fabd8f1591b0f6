"""One client's connection: the gate fills it without waiting, a worker reads and writes it as a file.

Here: how long a client may keep us waiting. Not here: what the bytes mean.
"""

import re
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

CHUNK = 64 << 10
UNSENT = 128 << 10
"""Bytes of an answer that the kernel may hold unsent, so that we see how fast they are really taken."""
END_OF_HEAD = re.compile(rb"\n\r?\n")
"""Of any head, however malformed: what the strict parser then says needs no more bytes."""
SLACK = 1 << 10
"""Beyond the largest head, so that the parser finds it too large before it finds it unfinished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What clients may take: seconds, bytes, bytes per second, connections.

    `head_seconds`: for a whole request head, the TLS handshake included; also between two requests.
    `patience`: for which a worker waits for one client beyond what its bytes have earned, at `slowest`.
    `drained`: bytes that a client may still send after our last answer, within `drain_seconds`.
    `per_address`: connections of one address that wait at the gate; of loopback, `on_loopback`.
    """

    head_seconds: float = 10.0
    head_bytes: int = 32 << 10
    patience: float = 10.0
    slowest: int = 16 << 10
    drain_seconds: float = 2.0
    drained: int = 8 << 20
    connections: int = 4096
    per_address: int = 256
    on_loopback: int = 2048


class Account:
    """What a client may still keep us waiting. It pays with time, and earns by bytes.

    `patience` seconds are the most on it: bytes of long ago buy no standstill now.
    """

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self._sock = sock
        self._limits = limits
        self._seconds = limits.patience

    def charge(self, transfer: Callable[[memoryview], int], data: memoryview) -> int:
        """How many bytes went over. Raises TimeoutError once the account is empty."""
        self._sock.settimeout(max(self._seconds, 0.001))
        start = time.monotonic()
        try:
            count = transfer(data)
        except TimeoutError:
            self._seconds = 0
            raise TimeoutError("timed out") from None
        left = self._seconds - (time.monotonic() - start) + count / self._limits.slowest
        self._seconds = min(self._limits.patience, left)
        return count


class Stream:
    """`given` is what has been read and not yet used; `wants` what the gate waits for."""

    def __init__(self, sock: socket.socket, peer: tuple[Any, ...], limits: Limits) -> None:
        self._sock = sock
        self._limits = limits
        self.secure = isinstance(sock, ssl.SSLSocket)
        self._shaking = self.secure
        self._searched = 0
        self._left = limits.drained
        self.peer: tuple[str, int] = (str(peer[0]), int(peer[1]))
        self.given = bytearray()
        self.wants = selectors.EVENT_READ
        self.deadline = 0.0
        self.closed = False
        self.connection: Any = None
        """What the workers have made of it."""
        self.begin()
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)

    def fileno(self) -> int:
        return self._sock.fileno()

    # At the gate: nothing here waits.

    def fill(self) -> bool:
        """Read what is there; whether a head is whole now, or too large. Raises OSError at the end."""
        self.wants = selectors.EVENT_READ
        try:
            if self._shaking:
                self._sock.do_handshake()  # type: ignore[attr-defined]
                self._shaking = False
            while not self._has_head():
                self.given += self._some(self._sock.recv(CHUNK))
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except ssl.SSLWantWriteError:
            self.wants = selectors.EVENT_WRITE
            return False
        self._searched = 0
        return True

    def swallow(self) -> bool:
        """Read what is there and forget it; whether that was enough. Raises OSError at the end."""
        self.given.clear()
        self.wants = selectors.EVENT_READ
        try:
            while self._left > 0:
                # Below TLS: what comes now is not for reading.
                self._left -= len(self._some(socket.socket.recv(self._sock, CHUNK)))
        except BlockingIOError:
            return False
        return True

    def _has_head(self) -> bool:
        found = END_OF_HEAD.search(self.given, self._searched)
        self._searched = max(0, len(self.given) - 2)
        return bool(found) or len(self.given) > self._limits.head_bytes + SLACK

    @staticmethod
    def _some(data: bytes) -> bytes:
        if not data:
            raise ConnectionError("the client has closed the connection")
        return data

    def say(self, data: bytes) -> None:
        """A short last word, if it can be said without waiting."""
        with suppress(OSError):
            self._sock.settimeout(0)
            if self._shaking:
                socket.socket.send(self._sock, data)
            else:
                self._sock.send(data)

    def last_word(self) -> None:
        """Nothing more will be sent: the client reads our answer and then the end."""
        with suppress(OSError, ValueError):
            self._sock.settimeout(0)
            if self.secure and not self._shaking:
                self._sock.unwrap()  # type: ignore[attr-defined]
        self.shutdown(socket.SHUT_WR)

    def park(self) -> None:
        """Back to the gate."""
        self._sock.settimeout(0)

    def shutdown(self, how: int) -> None:
        """Of the connection, below TLS: ends what any thread waits for on it."""
        with suppress(OSError):
            socket.socket.shutdown(self._sock, how)

    def close(self) -> None:
        self.closed = True
        self._sock.close()

    # At a worker: everything here may wait, for as long as the client has earned.

    def begin(self) -> None:
        """A new request: both accounts are full."""
        self._reading = Account(self._sock, self._limits)
        self._writing = Account(self._sock, self._limits)

    def read(self, size: int) -> bytes:
        """So many bytes; fewer only at the end. Raises TimeoutError and other OSErrors."""
        if size <= len(self.given):
            return self._take(size)
        buffer = bytearray(size)
        count = len(self.given)
        buffer[:count] = self._take(count)
        with memoryview(buffer) as view:
            while count < size:
                if not (more := self._receive(view[count:])):
                    break
                count += more
            return bytes(view[:count])

    def readline(self, size: int = -1) -> bytes:
        """Up to the next line feed, or `size` bytes."""
        while (end := self.given.find(b"\n") + 1) == 0 and not 0 <= size <= len(self.given):
            piece = bytearray(CHUNK)
            if not (count := self._receive(memoryview(piece))):
                break
            self.given += piece[:count]
        end = end or len(self.given)
        return self._take(min(end, size) if size >= 0 else end)

    def write(self, data: bytes) -> int:
        """All of it."""
        count = 0
        with memoryview(data) as view:
            while count < len(view):
                count += self._writing.charge(self._sock.send, view[count : count + CHUNK])
        return count

    def flush(self) -> None:
        """Nothing is kept back."""

    def _take(self, size: int) -> bytes:
        data = bytes(self.given[:size])
        del self.given[:size]
        return data

    def _receive(self, into: memoryview) -> int:
        return self._reading.charge(self._sock.recv_into, into)
