"""Agents gone mad: what a node may answer when it is broken, or in bad hands."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Mad(BaseHTTPRequestHandler):
    """An agent that answers each question with what the test wants."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(time.monotonic())  # type: ignore[attr-defined]
        self.server.answer(self)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass


class MadServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Callable[[Mad], None]) -> None:
        super().__init__(("127.0.0.1", 0), Mad)
        self.answer = answer
        self.asked: list[float] = []
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def handle_error(self, *_: object) -> None:
        pass

    def stop(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


Maker = Callable[[Callable[[Mad], None]], MadServer]


def says(status: int, body: bytes) -> Callable[[Mad], None]:
    def answer(mad: Mad) -> None:
        mad.send_response(status)
        mad.send_header("Content-Length", str(len(body)))
        mad.end_headers()
        mad.wfile.write(body)

    return answer


def drips(mad: Mad) -> None:
    """A byte now and then, for ever: no single read takes long."""
    mad.send_response(200)
    mad.send_header("Content-Length", "1000000")
    mad.end_headers()
    while True:
        mad.wfile.write(b" ")
        mad.wfile.flush()
        time.sleep(0.02)


def floods(mad: Mad) -> None:
    mad.send_response(200)
    mad.send_header("Content-Length", str(1 << 40))
    mad.end_headers()
    while True:
        mad.wfile.write(b" " * (1 << 20))
