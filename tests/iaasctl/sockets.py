"""Real sockets for the few things that need them: a WSGI server, and servers that misbehave."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class _Threaded(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The URL of the app, served over HTTP/1.0."""
    with _Threaded(("127.0.0.1", 0), _Quiet) as server:
        server.set_app(app)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def misbehaving(*talks: Callable[[socket.socket], None]) -> Iterator[str]:
    """Handles one connection after another with `talks`, the last one again and again."""

    def run() -> None:
        count = 0
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                talks[min(count, len(talks) - 1)](connection)
            count += 1

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def says(raw: bytes) -> Callable[[socket.socket], None]:
    """Reads a request, sends these bytes, and hangs up."""

    def talk(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(raw)

    return talk


def body(data: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n\r\n".encode() + data
