"""The HTTP server: cheroot's workers behind our gate.

A worker gets a connection when the whole head of a request has arrived, and loses it when the answer
is written: what is slow waits at the gate. Bodies and answers do take a worker; see `Stream`.
"""

import logging
import queue
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any
from wsgiref.types import WSGIApplication

from cheroot import server as http
from cheroot import wsgi

from reconciler.api.framing import Request
from reconciler.api.gate import Gate, url
from reconciler.api.plain import refusal
from reconciler.api.stream import Limits, Stream

log = logging.getLogger("reconciler.api")
BACKLOG = 1024
STOP_SECONDS = 4
"""For requests under way, once we are told to end; then their connections are cut."""
BUSY = refusal(503, "too many requests at once; try again")


class Connection(http.HTTPConnection):
    """As cheroot's workers know it; `socket`, `rfile` and `wfile` are one `Stream`."""

    RequestHandlerClass = Request

    def __init__(self, server: "Cheroot", stream: Stream) -> None:
        super().__init__(server, stream, lambda stream, *_: stream)
        self.remote_addr, self.remote_port = stream.peer[:2]
        self.ssl_env = {"wsgi.url_scheme": "https"} if stream.secure else {}

    def close(self) -> None:
        self.server.gate.drain(self.socket)


class Cheroot(wsgi.Server):
    """Without its own waiting for connections: `serve`, and what belongs to it, is the gate's."""

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_request_header_size = limits.head_bytes
        self.gate = Gate(limits, self._ready)

    def serve(self) -> None:
        self.gate.run()

    def _ready(self, stream: Stream) -> None:
        stream.connection = stream.connection or Connection(self, stream)
        stream.connection.requests_seen += 1
        self.process_conn(stream.connection)

    def process_conn(self, conn: Connection) -> None:
        try:
            self.requests.put(conn)
        except queue.Full:
            conn.socket.say(BUSY)
            conn.close()

    def put_conn(self, conn: Connection) -> None:
        if self.ready:
            self.gate.await_head(conn.socket)
        else:
            conn.close()

    @property
    def can_add_keepalive_connection(self) -> bool:
        return bool(self.ready)  # where there are too many, the gate drops the oldest

    def stop(self) -> None:
        """Within STOP_SECONDS, but for requests that wait for something else than their client."""
        if not self.ready:
            return
        self.gate.stop()
        impatience = threading.Timer(STOP_SECONDS, self.gate.sever)
        impatience.start()
        super().stop()
        impatience.cancel()
        self.gate.close()

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        log.log(level, "%s", msg, exc_info=traceback)


class Server:
    """`start` binds and returns; `stop` ends what waits (`on_stop`), then what works.

    With TLS there is a second listener, plain and on loopback only (`inner_url`): for the agents of this
    host, which fetch images there and need no certificates.
    """

    def __init__(
        self,
        app: WSGIApplication,
        host: str,
        port: int,
        *,
        context: ssl.SSLContext | None = None,
        threads: int = 80,
        limits: Limits | None = None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._context = context
        self._on_stop = on_stop
        self._server = Cheroot(
            (host, port),
            app,
            limits=limits or Limits(),
            numthreads=threads,
            server_name="iaas",
            request_queue_size=BACKLOG,
            shutdown_timeout=STOP_SECONDS,
            accepted_queue_size=1000,
            accepted_queue_timeout=0,
        )
        self._inner: socket.socket | None = None
        self._thread = threading.Thread(target=self._server.serve, name="http", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, once started; with port 0, the port that was found."""
        host, port = self._server.bind_addr[:2]
        return str(host), int(port)

    @property
    def url(self) -> str:
        return url("https" if self._context else "http", self.address)

    @property
    def inner_url(self) -> str:
        """Where it speaks plain HTTP, on loopback."""
        return url("http", self._inner.getsockname()) if self._inner else self.url

    @property
    def works(self) -> bool:
        """Whether requests are taken: not before `start`, after `stop`, or if it broke down."""
        return bool(self._server.ready) and self._thread.is_alive()

    def start(self) -> None:
        """Raises OSError where the address cannot be had."""
        self._server.prepare()
        self._server.gate.listen(self._server.socket, self._context)
        if self._context is not None:
            self._inner = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
            self._server.gate.listen(self._inner, None)
        self._thread.start()

    def stop(self) -> None:
        self._on_stop()
        self._server.stop()
        self._thread.join(timeout=10)
        if self._inner is not None:
            self._inner.close()
