"""The HTTP server: cheroot, with tighter rules on what a request may look like.

Refused before the application sees it: ambiguous framing (two lengths, a length and chunks, signs and
spaces in it), folded and malformed headers, too many or too large ones. A connection whose request
was not read to its end is closed, not drained: nobody makes us swallow 10 GB to say 401.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from wsgiref.types import WSGIApplication

from cheroot import server as http
from cheroot import wsgi

LOG = logging.getLogger("iaas.http")
HEADER_BYTES = 32 << 10
MOST_HEADERS = 100
TIMEOUT = 10
"""Seconds that a client may take for any one read or write."""
DRAINED = 8 << 20
DRAIN_SECONDS = 2.0

NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^`|~-]+")
ONCE = (b"Content-Length", b"Transfer-Encoding", b"Host", b"Authorization", b"Content-Type")
STATUS = {
    "413": ("431 Request Header Fields Too Large", "the headers are too large"),
    "414": ("431 Request Header Fields Too Large", "the request line is too long"),
}


class Headers(http.HeaderReader):
    """Reads the headers of one request; raises ValueError for what is not clean."""

    def __init__(self) -> None:
        self._seen: list[bytes] = []
        self._fresh = False

    def __call__(self, rfile: Any, hdict: Any = None) -> Any:
        found = super().__call__(rfile, hdict)
        if b"Content-Length" in found:
            if b"Transfer-Encoding" in found:
                raise ValueError("Content-Length and Transfer-Encoding together")
            if not re.fullmatch(rb"[0-9]{1,18}", found[b"Content-Length"]):
                raise ValueError("malformed Content-Length")
        return found

    def _transform_key(self, key_name: bytes) -> bytes:
        if not NAME.fullmatch(key_name):
            raise ValueError("malformed header name")
        key = key_name.title()
        if len(self._seen) == MOST_HEADERS:
            raise ValueError("too many headers")
        if key in ONCE and key in self._seen:
            raise ValueError(f"two headers {key.decode()}")
        self._seen.append(key)
        self._fresh = True
        return key

    def _allow_header(self, _key_name: bytes) -> bool:
        if not self._fresh:
            raise ValueError("folded header")
        self._fresh = False
        return True


class Request(http.HTTPRequest):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.header_reader = Headers()

    def respond(self) -> None:
        super().respond()
        if self._unread():
            self._drain()

    def send_headers(self) -> None:
        if self._unread():
            self.close_connection = True
        super().send_headers()

    def _unread(self) -> bool:
        return self.chunked_read or getattr(self.rfile, "remaining", 0) > 0

    def _drain(self) -> None:
        """A little, so that the client gets to read our answer before the connection is reset."""
        end, left = time.monotonic() + DRAIN_SECONDS, DRAINED
        with suppress(OSError):
            self.conn.socket.settimeout(DRAIN_SECONDS / 4)
            while left > 0 and time.monotonic() < end:
                chunk = self.conn.socket.recv(1 << 16)
                if not chunk:
                    return
                left -= len(chunk)

    def simple_response(self, status: str, msg: str = "") -> None:
        """The server's own refusals, in the one shape of errors."""
        status, message = STATUS.get(str(status)[:3], (str(status), msg or str(status)[4:]))
        code = status[4:].lower().replace(" ", "_")
        error = {"error": code, "message": message, "field": "", "hint": ""}
        body = json.dumps(error | {"conflicts": [], "faults": []}).encode() + b"\n"
        head = (
            f"{self.server.protocol} {status}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.close_connection = True
        with suppress(OSError):
            self.conn.wfile.write(head.encode("latin-1") + body)


class Connection(http.HTTPConnection):
    RequestHandlerClass = Request


class Cheroot(wsgi.Server):
    ConnectionClass = Connection
    max_request_header_size = HEADER_BYTES
    keep_alive_conn_limit = 1000

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        LOG.log(level, "%s", msg, exc_info=traceback)


class Server:
    """`start` binds and returns; `stop` ends what waits (`on_stop`), then what works."""

    def __init__(
        self,
        app: WSGIApplication,
        host: str,
        port: int,
        *,
        threads: int = 48,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_stop = on_stop
        self._server = Cheroot(
            (host, port),
            app,
            numthreads=threads,
            server_name="iaas",
            request_queue_size=256,
            timeout=TIMEOUT,
            shutdown_timeout=5,
            accepted_queue_size=1000,
            accepted_queue_timeout=1,
        )
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, once started; with port 0, the port that was found."""
        host, port = self._server.bind_addr[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Raises OSError where the address cannot be had."""
        self._server.prepare()
        self._thread.start()

    def stop(self) -> None:
        self._on_stop()
        self._server.stop()
        self._thread.join(timeout=10)

    def _serve(self) -> None:
        self._server.serve()
