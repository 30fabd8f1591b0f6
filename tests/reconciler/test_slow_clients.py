"""Clients that are slow, silent or too many, over real sockets: they wait at the gate, others do not."""

import hashlib
import http.client
import os
import resource
import select
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest

from reconciler.api import Server
from reconciler.api.deps import Slots
from reconciler.api.health import HealthServer
from reconciler.api.lines import LOOPBACK, owner_of
from reconciler.api.stream import Limits
from tests.reconciler.world import ADMIN, World

AUTH = f"Authorization: Bearer {ADMIN}\r\n".encode()
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = b"GET /health HTTP/1.1\r\nX-Slow: "
MEASURED = 200
"""Requests by which a latency is told."""
Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("slow"))


@pytest.fixture
def serve(world: World) -> Iterator[Serve]:
    """Servers with these limits, and few workers: one that is held would be missed."""
    with ExitStack() as stack:

        def start(threads: int = 2, **limits: float) -> Server:
            server = Server(world.app, "127.0.0.1", 0, threads=threads, limits=Limits(**limits))  # type: ignore[arg-type]
            server.start()
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    """For both ends of 1,000 connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(server: Server, data: bytes = b"") -> socket.socket:
    connection = socket.create_connection(server.address, timeout=20)
    connection.sendall(data)
    return connection


@contextmanager
def connections(server: Server, count: int, data: bytes = b"") -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connect(server, data)) for _ in range(count)]


def rest(connection: socket.socket) -> bytes:
    """All that the server still says, until it ends the connection."""
    data = bytearray()
    with suppress(ConnectionResetError):
        while chunk := connection.recv(1 << 16):
            data += chunk
    return bytes(data)


def heard(connection: socket.socket, milliseconds: int = 0) -> bool:
    """Whether the server has said or ended anything, or does so in time."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(milliseconds))


def answer(connection: socket.socket) -> int:
    """The status of the next answer, read to its end."""
    response = http.client.HTTPResponse(connection)
    with closing(response):
        response.begin()
        response.read()
        return response.status


def times_of(address: tuple[str, int], count: int) -> list[float]:
    """Seconds that ordinary requests took, each on a connection of its own; the shortest first."""
    times = []
    for _ in range(count):
        start = time.monotonic()
        with closing(http.client.HTTPConnection(*address, timeout=20)) as client:
            client.request("GET", "/health")
            assert client.getresponse().status == 200
        times.append(time.monotonic() - start)
    return sorted(times)


def slowest_of(server: Server, count: int = 20) -> float:
    return times_of(server.address, count)[-1]


def told(times: list[float]) -> str:
    """Least, median and 99th percentile."""
    least, median, late = times[0], times[len(times) // 2], times[len(times) * 99 // 100]
    return f"{least * 1000:.1f} / {median * 1000:.1f} / {late * 1000:.1f} ms"


@contextmanager
def dribbling(connections: list[socket.socket], seconds: float = 0.3) -> Iterator[None]:
    """Each sends a byte now and again, for as long as it can."""
    ended = threading.Event()

    def dribble() -> None:
        going = list(connections)
        while not ended.wait(seconds):
            for connection in list(going):
                try:
                    connection.send(b"x")
                except OSError:
                    going.remove(connection)

    thread = threading.Thread(target=dribble)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_thousand_unfinished_requests_delay_nobody(serve: Serve) -> None:
    server = serve(head_seconds=8)
    alone = times_of(server.address, MEASURED)
    start = time.monotonic()
    with (
        connections(server, 300) as silent,
        connections(server, 600, HALF) as half,
        connections(server, 100, HALF) as slow,
        dribbling(slow),
    ):
        among = times_of(server.address, MEASURED)
        print(f"min / median / p99: alone {told(alone)}, among 1,000 {told(among)}")
        assert among[-1] < 1
        assert not any(heard(connection) for connection in (*silent, *half))
        assert time.monotonic() - start < 8, "this machine is too slow for this test"
        assert {rest(connection) for connection in silent} == {b""}
        answers = {rest(connection)[:12] for connection in half + slow}
        assert answers == {b"HTTP/1.1 408"}
        assert time.monotonic() - start < 8 + 4


def test_a_body_must_keep_a_pace(world: World, serve: Serve) -> None:
    """One byte now and again keeps no worker; who is slow but keeps the pace gets through."""
    server = serve(patience=1, slowest=1024)
    put = f"PUT /iaas/blobs/{'0' * 64} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n".encode()
    post = b"POST /iaas/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nContent-Type: application/json\r\n"
    start = time.monotonic()
    with (
        connect(server, put + AUTH + b"\r\n") as first,
        connect(server, post + AUTH + b"\r\n") as second,
        dribbling([first, second], 0.2),
    ):
        assert b"the upload broke off" in rest(first)
        assert rest(second).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - start < 8

    data = os.urandom(6_000)
    digest = hashlib.sha256(data).hexdigest()
    put = (
        f"PUT /iaas/blobs/{digest} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n".encode()
    )
    with connect(server, put + AUTH + b"\r\n") as steady:
        for begin in range(0, len(data), 500):
            steady.sendall(data[begin : begin + 500])
            time.sleep(0.15)
        assert answer(steady) == 201
    assert world.library.has(digest)


def test_an_answer_must_be_taken_at_a_pace(world: World, serve: Serve) -> None:
    """Some at any time is not enough."""
    server = serve(patience=1, slowest=1 << 20)
    digest = world.upload(os.urandom(40 << 20))
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        slow.settimeout(20)
        slow.connect(server.address)
        slow.sendall(f"GET /iaas/blobs/{digest} HTTP/1.1\r\nHost: x\r\n".encode() + AUTH + b"\r\n")
        for _ in range(15):
            slow.recv(1 << 16)
            time.sleep(0.2)
        assert len(rest(slow)) < 10 << 20
    with connect(
        server, f"GET /iaas/blobs/{digest} HTTP/1.0\r\n".encode() + AUTH + b"\r\n"
    ) as swift:
        assert len(rest(swift)) > 40 << 20


def test_who_takes_long_over_a_download_leaves_room_for_others(
    world: World, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes a worker; there are fewer places for them than workers."""
    monkeypatch.setattr(world.deps, "downloads", Slots(2, "downloads"))
    server = serve(threads=3)
    digest = world.upload(os.urandom(20 << 20))
    get = f"GET /iaas/blobs/{digest} HTTP/1.1\r\nHost: x\r\n".encode() + AUTH + b"\r\n"
    with connections(server, 2, get) as taking:
        assert all(heard(connection, 5000) for connection in taking)
        with connect(server, get) as third:
            assert answer(third) == 429
        assert slowest_of(server, 5) < 1
    ended = time.monotonic() + 10
    status = 429
    while status == 429 and time.monotonic() < ended:
        with connect(server, get.replace(b"GET", b"HEAD")) as later:
            status = int(later.recv(100).split()[1])
    assert status == 200


def test_who_was_refused_and_goes_on_sending_holds_no_worker(serve: Serve) -> None:
    server = serve(drain_seconds=3)
    post = b"POST /iaas/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with connections(server, 20, post) as refused:
        for connection in refused:
            assert answer(connection) == 401
        with dribbling(refused):
            assert slowest_of(server) < 1
            assert {rest(connection) for connection in refused} == {b""}


def test_a_kept_connection_waits_and_then_begins_anew(serve: Serve) -> None:
    """Between two requests, and again for the whole of the next head."""
    server = serve(head_seconds=1.5)
    start = time.monotonic()
    with connect(server, HEALTH) as kept, connect(server, HEALTH) as idle:
        assert answer(kept) == 200
        assert answer(idle) == 200
        time.sleep(1)
        kept.sendall(HEALTH[:10])
        time.sleep(1)
        kept.sendall(HEALTH[10:])
        assert answer(kept) == 200
        assert rest(idle) == b""
        assert rest(kept) == b""
        assert time.monotonic() - start < 8


def test_pipelined_requests_are_answered_up_to_a_number(serve: Serve) -> None:
    server = serve(threads=1)
    with connect(server) as greedy:
        sender = threading.Thread(target=_send, args=(greedy, HEALTH * 10_000))
        sender.start()
        assert slowest_of(server, 3) < 2
        answer = rest(greedy)
        sender.join()
    assert answer.count(b"HTTP/1.1 200") == 1000
    assert answer.count(b"Connection: close") == 1


def _send(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        connection.sendall(data)


@pytest.mark.parametrize(
    "limits", [{"on_loopback": 20}, {"connections": 40}], ids=["address", "all"]
)
def test_too_many_connections_push_out_the_oldest(serve: Serve, limits: dict[str, int]) -> None:
    server = serve(**limits)
    with connections(server, 50, HALF) as many:
        assert slowest_of(server) < 1
        assert {rest(connection) for connection in many[:25]} == {b""}
        assert not any(heard(connection) for connection in many[40:])


def test_without_descriptors_the_oldest_make_room(serve: Serve) -> None:
    """Somebody else in the process has used up all but three."""
    server = serve()
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(10)]
        stack.enter_context(few_descriptors(3))
        for client in clients:
            client.settimeout(20)
            client.connect(server.address)
            client.sendall(HALF)
        clients[-1].sendall(b"x\r\n\r\n")
        assert answer(clients[-1]) == 200
        assert rest(clients[0]) == b""


@contextmanager
def few_descriptors(free: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, hard))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(free):
            os.close(taken.pop())
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_health_takes_no_worker_and_no_lock(world: World, serve: Serve) -> None:
    """Both workers wait for the store, which somebody keeps to himself."""
    server = serve()
    health = HealthServer("127.0.0.1", 0, healthy=lambda: server.works and not world.store.failure)
    health.start()
    body = b'{"documents":[{"apiVersion":"iaas/v1","kind":"Node","metadata":{"name":"n1"},"spec":{"address":"127.0.0.1:1"}}]}'
    head = (
        b"POST /iaas/apply HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n" % len(body)
    )
    with ExitStack() as clients:
        with world.store.database.write():
            busy = clients.enter_context(connections(server, 2, head + AUTH + b"\r\n" + body))
            third = clients.enter_context(connect(server, HEALTH))
            assert not heard(third, 300)
            start = time.monotonic()
            with urllib.request.urlopen(health.url, timeout=20) as told:
                assert told.status == 200
            assert time.monotonic() - start < 1
        assert {answer(connection) for connection in (*busy, third)} == {200}
    health.stop()


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        ("127.0.0.1", LOOPBACK),
        ("127.9.9.9", LOOPBACK),
        ("::1", LOOPBACK),
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002"),
        ("fe80::1%eth0", "fe80:0000:0000:0000"),
    ],
)
def test_whom_a_connection_counts_for(host: str, owner: str) -> None:
    assert owner_of(host) == owner
