"""A web server of files, over TLS on 127.0.0.1, that also does all that a bad one does."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

Behaviour = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """`give` and the rest are what behaviours are made of."""

    server: "Mirror"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        self.server.behaviour(self)
        self.close_connection = True

    def head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def give(self, data: bytes, *, length: int | None = None) -> None:
        """All of it, or what was asked for, saying it is `length` bytes."""
        start = self.start(len(data))
        more = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        self.head(
            206 if start else 200,
            Content_Length=str(len(data) - start if length is None else length),
            **more,
        )
        self.wfile.write(data[start:])

    def start(self, size: int) -> int:
        found = self.headers.get("Range", "bytes=0-")
        return min(int(found[6:-1]), size)

    def reset(self) -> None:
        """The connection breaks."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, *_: Any) -> None:
        pass


class Mirror(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 50

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self._context = context
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.connections: list[str] = []
        self.behaviour: Behaviour = lambda request: request.head(404, Content_Length="0")
        context.sni_callback = lambda _, name, __: self.connections.append(str(name))

    def url(self, path: str = "/disk.img", host: str = "mirror.test") -> str:
        return f"https://{host}:{self.server_address[1]}{path}"

    def finish_request(self, request: Any, address: Any) -> None:
        """Shaking hands in the thread of the connection."""
        with self._context.wrap_socket(request, server_side=True) as wrapped:
            super().finish_request(wrapped, address)

    def handle_error(self, *_: Any) -> None:
        """Clients go away; that is what is tested."""


@contextmanager
def serving(authority: trustme.CA, *names: str) -> Iterator[Mirror]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    mirror = Mirror(context)
    thread = threading.Thread(target=mirror.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield mirror
    mirror.shutdown()
    mirror.server_close()


def trust(authority: trustme.CA, root: Path) -> Path:
    """A file for SSL_CERT_FILE."""
    path = root / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def until(what: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
