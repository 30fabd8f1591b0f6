"""The two ends of a connection that is measured: a small HTTP server and its clients, as programs.

`load.py serve PORT PROCESSES` tells "ready" and serves until its input ends: /big is long, every
other page is a 404 that names its path. `load.py stream ADDRESS PORT SECONDS` reads /big,
`load.py connect ADDRESS PORT SECONDS CLIENTS ECHO` asks for pages, by CLIENTS processes, each page on
a connection of its own, `load.py abandon ADDRESS PORT TIMES ECHO` for one after each /big that somebody
left unread. All print how many were answered rightly, how many with what was meant for another client,
how many not at all, and bytes or right answers per second. ECHO 1: the server names the path, so that
another client's answer is known. Stand-alone: it runs in any namespace,
with nothing to import that would take time.
"""

import os
import signal
import socket
import struct
import sys
import time
from contextlib import suppress

BIG = "/big"
PAGE = 32 << 20
"""Its bytes."""
CHUNK = 1 << 18
PATIENCE = 1.0
"""Seconds for which a client or the server waits for the other side."""
AT_ONCE = struct.pack("ii", 1, 0)
WAIT = struct.pack("ll", int(PATIENCE), 0)


def serve(port: int, processes: int) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", port))
        server.listen(1024)
        children = [child for _ in range(processes) if (child := forked(lambda: accept(server)))]
        print("ready", flush=True)
        sys.stdin.read()
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def forked(run) -> int:  # type: ignore[no-untyped-def]
    if pid := os.fork():
        return pid
    try:
        run()
    finally:
        os._exit(0)


def accept(server: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        client, _ = server.accept()
        with client:
            try:
                answer(client)
            except OSError:
                continue


def answer(client: socket.socket) -> None:
    """A stream has a process of its own: who does not read it holds nobody up."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, WAIT)
    path = client.recv(CHUNK).split(b" ", 2)[1:2]
    if path == [BIG.encode()]:
        if not os.fork():
            send_page(client)
        return
    client.sendall(b"HTTP/1.0 404 %s\r\n\r\n" % b"".join(path))


def send_page(client: socket.socket) -> None:
    zeros = bytes(CHUNK)
    try:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, WAIT)
        client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % PAGE)
        for _ in range(PAGE // CHUNK):
            client.sendall(zeros)
    finally:
        os._exit(0)


def dialled(address: str, port: int) -> socket.socket:
    """A reset ends it: neither host remembers it, so that no measurement burdens the next."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, WAIT)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, WAIT)
    try:
        client.connect((address, port))
    except OSError:
        client.close()
        raise
    return client


def stream(address: str, port: int, seconds: float) -> list[float]:
    """One stream after another: [begun rightly, with another's bytes, not at all; bytes per second]."""
    counts, total, start = [0, 0, 0], 0, time.perf_counter()
    end = start + seconds
    while time.perf_counter() < end:
        try:
            with dialled(address, port) as client:
                client.sendall(f"GET {BIG} HTTP/1.0\r\n\r\n".encode())
                head, begun = headers(client)
                length = length_of(head)
                counts[0 if length else 1 if head else 2] += 1
                total += read(client, length - begun)
        except OSError:
            counts[2] += 1
            time.sleep(0.001)
    return [*counts, total / (time.perf_counter() - start)]


def abandon(address: str, port: int, times: int, echo: bool) -> list[float]:
    """Of requests that each follow a client that left with most of a page unread: as `connect`."""
    counts = [0, 0, 0]
    for _ in range(times):
        with suppress(OSError), dialled(address, port) as client:
            client.sendall(f"GET {BIG} HTTP/1.0\r\n\r\n".encode())
            headers(client)
        found = connect_again(address, port, 0, echo)
        counts = [before + int(more) for before, more in zip(counts, found[:3], strict=True)]
    return [*counts, 0]


def headers(client: socket.socket) -> tuple[bytes, int]:
    """(what comes before the page, bytes of the page that came with it)."""
    said = b""
    while b"\r\n\r\n" not in said and len(said) < CHUNK and (got := client.recv(4096)):
        said += got
    head, _, page = said.partition(b"\r\n\r\n")
    return head, len(page)


def length_of(head: bytes) -> int:
    """0: this is no answer to a request for the page."""
    name = b"\r\ncontent-length: "
    found = b" 200 " in head[:15] and name in head.lower()
    return int(head.lower().split(name)[1].split()[0]) if found else 0


def read(client: socket.socket, length: int) -> int:
    """All of it: pwncat sends the rest of an abandoned page to its next client. Nor does it tell of the
    end of a connection, so that the length must be known."""
    buffer, total = bytearray(CHUNK), 0
    while total < length and (got := client.recv_into(buffer)):
        total += got
    return total


def connect(address: str, port: int, seconds: float, clients: int, echo: bool) -> list[float]:
    reading, writing = os.pipe()
    start = time.perf_counter() + 0.002 * clients

    def one_client() -> None:
        time.sleep(max(0.0, start - time.perf_counter()))
        os.write(writing, struct.pack("4d", *connect_again(address, port, seconds, echo)))

    children = [forked(one_client) for _ in range(clients)]
    sums = [0.0] * 4
    for child in children:
        os.waitpid(child, 0)
        found = struct.unpack("4d", os.read(reading, 32))
        sums = [before + more for before, more in zip(sums, found, strict=True)]
    return sums


def connect_again(address: str, port: int, seconds: float, echo: bool) -> list[float]:
    counts = [0, 0, 0]
    start = time.perf_counter()
    while not sum(counts) or time.perf_counter() - start < seconds:
        token = os.urandom(8).hex().encode()
        try:
            with dialled(address, port) as client:
                counts[exchange(client, token, echo)] += 1
        except OSError:
            counts[2] += 1
            time.sleep(0.001)
    return [*counts, counts[0] / (time.perf_counter() - start)]


def exchange(client: socket.socket, token: bytes, echo: bool) -> int:
    client.sendall(b"GET /%s HTTP/1.0\r\n\r\n" % token)
    head, _ = headers(client)
    if not head:
        return 2
    mine = head == b"HTTP/1.0 404 /%s" % token if echo else b" 404 " in head[:15]
    return 0 if mine else 1


def main(verb: str, *words: str) -> None:
    if verb == "serve":
        serve(int(words[0]), int(words[1]))
        return
    address, port, seconds, *rest = words
    if verb == "abandon":
        print(*abandon(address, int(port), int(seconds), rest[0] == "1"))
    elif verb == "stream":
        print(*stream(address, int(port), float(seconds)))
    else:
        print(*connect(address, int(port), float(seconds), int(rest[0]), rest[1] == "1"))


if __name__ == "__main__":
    main(*sys.argv[1:])
