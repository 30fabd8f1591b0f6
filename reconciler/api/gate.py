"""The gate in front of the workers: one thread in which all connections wait that have nothing to do.

A connection passes when the whole head of its request has arrived, the TLS handshake included, and
comes back for the next one, or to be ended. None of this takes a worker, however slow a client is.
Where an address has too many connections waiting, those go that have waited longest: an honest head
takes milliseconds, so it passes in the midst of a flood from its own address.
"""

import errno
import logging
import os
import resource
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from reconciler.api.lines import LOOPBACK, Line, owner_of
from reconciler.api.plain import refusal
from reconciler.api.stream import Limits, Stream

log = logging.getLogger("reconciler.api")
ACCEPTS = 64
"""Connections taken at a time, before others have their turn."""
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PAUSE = 0.05
TOO_SLOW = refusal(408, "the request did not arrive in time")
PLAIN_HTTP = refusal(400, "this port speaks https, and you speak http")
HANDSHAKE = b"\x16\x03"
NO_TLS = refusal(400, "this port speaks http, and you speak https")

Peer = tuple[Any, ...]


class Gate:
    """`ready` is called, in the gate's thread, with each connection whose head is whole; it must not
    wait. Whoever has it then hands it back with `await_head` or `drain`, from any thread.
    """

    def __init__(self, limits: Limits, ready: Callable[[Stream], None]) -> None:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = min(limits.connections, descriptors // 2)
        self._limits = limits
        self._ready = ready
        self._heads = Line(limits.head_seconds)
        self._drains = Line(limits.drain_seconds)
        self._watched: dict[Stream, int] = {}
        self._of_owner: dict[str, dict[Stream, None]] = {}
        self._open: set[Stream] = set()
        self._inbox: deque[tuple[Stream, Line]] = deque()
        self._stopping = False
        self._ended = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._bell, selectors.EVENT_READ, self._hear)

    def listen(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        """Take connections from it, with TLS where there is a context; before `run`."""
        listener.setblocking(False)
        taking = partial(self._accept, listener, context)
        self._selector.register(listener, selectors.EVENT_READ, taking)

    def run(self) -> None:
        """Until `stop`."""
        try:
            while not self._stopping:
                for key, _ in self._selector.select(self._until_deadline()):
                    self._call(key.data)
                self._call(self._take_in)
                self._call(self._expire)
        finally:
            self._ended.set()

    def stop(self) -> None:
        """Let nobody in any more, and nobody pass; on return `run` has ended."""
        self._stopping = True
        self._ring()
        self._ended.wait()

    def sever(self) -> None:
        """Once stopped: break all connections, those that workers wait on, too."""
        for stream in list(self._open):
            stream.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Once stopped, and the workers, too."""
        for stream in self._open:
            stream.close()
        self._selector.close()
        os.close(self._bell)

    def await_head(self, stream: Stream) -> None:
        """Its request has been answered; another may follow."""
        stream.park()
        self._inbox.append((stream, self._heads))
        self._ring()

    def drain(self, stream: Stream) -> None:
        """It has had its last answer. A little of what it still sends is read, so that it gets to read
        that answer before the connection is reset."""
        stream.last_word()
        self._inbox.append((stream, self._drains))
        self._ring()

    def _call(self, part: Callable[[], None]) -> None:
        try:
            part()
        except Exception:  # the gate must stand, whatever one connection does to it
            log.exception("a defect at the gate")

    def _ring(self) -> None:
        os.eventfd_write(self._bell, 1)

    def _hear(self) -> None:
        os.eventfd_read(self._bell)

    def _take_in(self) -> None:
        while self._inbox:
            self._enter(*self._inbox.popleft())

    def _until_deadline(self) -> float | None:
        deadlines = [stream.deadline for stream in self._firsts()]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _firsts(self) -> Iterator[Stream]:
        for line in (self._drains, self._heads):
            if line.first is not None:
                yield line.first

    def _expire(self) -> None:
        now = time.monotonic()
        for line in (self._drains, self._heads):
            while (stream := line.first) is not None and stream.deadline <= now:
                self._give_up(stream)

    def _give_up(self, stream: Stream) -> None:
        if stream in self._heads and stream.given:
            stream.say(TOO_SLOW)
            self._end(stream)
        else:
            self._drop(stream)

    def _accept(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        for _ in range(ACCEPTS):
            try:
                sock, peer = listener.accept()
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._make_room()
                return
            self._admit(sock, peer, context)

    def _admit(self, sock: socket.socket, peer: Peer, context: ssl.SSLContext | None) -> None:
        sock.setblocking(False)
        try:
            if context is not None:
                sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError:
            sock.close()
            return
        stream = Stream(sock, peer, self._limits)
        self._open.add(stream)
        self._enter(stream, self._heads)
        if len(self._open) > self._most:
            self._make_room()

    def _make_room(self) -> None:
        """One less; or a moment's rest, for those who take up the room to give it back."""
        if oldest := next(self._firsts(), None):
            self._drop(oldest)
        else:
            time.sleep(PAUSE)

    def _enter(self, stream: Stream, line: Line) -> None:
        line.join(stream)
        owner = owner_of(stream.peer[0])
        waiting = self._of_owner.setdefault(owner, {})
        waiting[stream] = None
        most = self._limits.on_loopback if owner == LOOPBACK else self._limits.per_address
        if len(waiting) > min(most, self._most // 2):
            self._drop(next(iter(waiting)))
        self._advance(stream)

    def _advance(self, stream: Stream) -> None:
        """As far as it goes without waiting."""
        first_byte = stream.connection is not None and not stream.given
        try:
            passed = stream.swallow() if stream in self._drains else stream.fill()
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                stream.say(PLAIN_HTTP)
            self._end(stream)
        except OSError:
            self._drop(stream)
        else:
            if passed:
                self._pass(stream)
            else:
                self._go_on(stream, first_byte)

    def _go_on(self, stream: Stream, first_byte: bool) -> None:
        """Waiting."""
        if stream.given.startswith(HANDSHAKE):
            stream.say(NO_TLS)
            self._end(stream)
            return
        if first_byte and stream.given:
            self._heads.join(stream)  # it was between two requests: the time begins now
        self._watch(stream)

    def _pass(self, stream: Stream) -> None:
        if stream in self._drains:
            self._drop(stream)
        else:
            self._leave(stream)
            stream.begin()
            self._ready(stream)

    def _end(self, stream: Stream) -> None:
        self._leave(stream)
        stream.last_word()
        self._enter(stream, self._drains)

    def _drop(self, stream: Stream) -> None:
        self._leave(stream)
        self._open.discard(stream)
        stream.close()

    def _leave(self, stream: Stream) -> None:
        for line in (self._heads, self._drains):
            line.pop(stream, None)
        owner = owner_of(stream.peer[0])
        waiting = self._of_owner.get(owner, {})
        waiting.pop(stream, None)
        if not waiting:
            self._of_owner.pop(owner, None)
        if self._watched.pop(stream, None) is not None:
            self._selector.unregister(stream)

    def _watch(self, stream: Stream) -> None:
        watched = self._watched.get(stream)
        if watched is None:
            self._selector.register(stream, stream.wants, partial(self._wake, stream))
        elif watched != stream.wants:
            self._selector.modify(stream, stream.wants, partial(self._wake, stream))
        self._watched[stream] = stream.wants

    def _wake(self, stream: Stream) -> None:
        if stream in self._watched:  # else it was dropped after the selector had named it
            self._advance(stream)


def url(scheme: str, address: Peer) -> str:
    """Of a listener."""
    host, port = address[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
