"""The Docker driver on an engine that breaks off, tells nonsense or takes its time: a false one."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from queue import SimpleQueue

import pytest
from docker.errors import StreamParseError

from hyper.drivers import DriverError, EngineDown, docker
from hyper.drivers.docker import Docker
from hyper.drivers.docker_connection import plainly
from hyper.drivers.docker_words import CLUSTER

HANDLE = "f" * 64
OWNER = "0a0a0a0a-0000-4000-8000-000000000000"
ACTOR = {"ID": HANDLE, "Attributes": {CLUSTER: OWNER}}
WHOLE = json.dumps({"Action": "die", "Actor": ACTOR}).encode()
Answer = Callable[[BaseHTTPRequestHandler], object]


def body(data: bytes) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(data)

    return answer


def stream(data: bytes) -> Answer:
    """In chunks, as dockerd tells events; the SDK reads them otherwise than a body."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))

    return answer


class Engine(socketserver.ThreadingUnixStreamServer):
    """Answers the questions for events with one of `streams` after the other, the last for ever."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.streams = [stream(WHOLE)]
        self.other: Answer = lambda request: request.send_error(500)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def address_string(self) -> str:
                return "somebody"

            def do_GET(self) -> None:
                outer.get(self)

            def do_DELETE(self) -> None:
                outer.other(self)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(self.path, Handler)

    def get(self, request: BaseHTTPRequestHandler) -> None:
        if request.path.endswith("/version"):
            body(b'{"ApiVersion": "1.41"}')(request)
        elif "/events" in request.path:
            (self.streams.pop(0) if len(self.streams) > 1 else self.streams[0])(request)
        else:
            self.other(request)

    def handle_error(self, *_: object) -> None:
        pass


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path / "docker.sock")
    threading.Thread(target=engine.serve_forever, args=[0.01], daemon=True).start()
    yield engine
    engine.shutdown()
    engine.server_close()


@pytest.fixture
def driver(engine: Engine) -> Iterator[Docker]:
    driver = Docker(engine.path)
    driver.bind(OWNER)
    yield driver
    driver.close()


@pytest.mark.parametrize(
    "data",
    [b'{"status": "die", "Actor": {"ID": "ff', b"not JSON", b"{}", b'{"Actor": []}', b"[1]", b"7"],
)
def test_the_watch_outlives_a_stream_of(engine: Engine, driver: Docker, data: bytes) -> None:
    engine.streams.insert(0, stream(data))
    told: SimpleQueue[str | None] = SimpleQueue()

    driver.watch(told.put)

    while told.get(timeout=20) != HANDLE:
        pass


def test_the_watch_outlives_a_listener_that_fails(engine: Engine, driver: Docker) -> None:
    told: SimpleQueue[str | None] = SimpleQueue()
    faults = [ValueError("once"), KeyError("twice")]

    def notify(handle: str | None) -> None:
        if faults:
            raise faults.pop()
        told.put(handle)

    driver.watch(notify)

    while told.get(timeout=20) != HANDLE:
        pass


def test_a_call_that_takes_too_long_says_nothing_of_the_engine(
    engine: Engine, driver: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "CALL_TIMEOUT", 0.3)
    done = threading.Event()
    driver._ours.add(HANDLE)
    engine.other = lambda _: done.wait(30)

    with pytest.raises(DriverError, match=r"^docker took too long to answer$") as caught:
        driver.remove(HANDLE)
    done.set()

    assert not isinstance(caught.value, EngineDown)


def test_a_body_that_takes_too_long_says_nothing_of_the_engine(
    engine: Engine, driver: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "CALL_TIMEOUT", 0.3)
    done = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        body(b'{"Id": ')(request)
        request.wfile.flush()
        done.wait(30)

    engine.other = answer

    with pytest.raises(DriverError, match=r"^docker took too long to answer$") as caught:
        driver.inspect(HANDLE)
    done.set()

    assert not isinstance(caught.value, EngineDown)


def test_an_engine_that_is_not_there_is_down(tmp_path: Path) -> None:
    with pytest.raises(EngineDown):
        Docker(str(tmp_path / "nothing.sock")).inspect(HANDLE)


def test_an_engine_that_says_nothing_at_all_is_down(
    engine: Engine, driver: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "CALL_TIMEOUT", 0.3)
    done = threading.Event()
    monkeypatch.setattr(engine, "get", lambda _: done.wait(30))

    with pytest.raises(EngineDown):
        driver.inspect(HANDLE)
    done.set()


def test_a_stream_that_breaks_off_means_that_the_engine_is_down() -> None:
    with pytest.raises(EngineDown), plainly():
        raise StreamParseError(ValueError("Unterminated string"))
