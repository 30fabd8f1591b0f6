"""Health on a listener of its own: one thread, which waits for nobody and needs no worker and no lock.

For whoever watches over the program, or sends requests only to one that works. It tells no more than
whether it works, to everybody, and without TLS.
"""

import re
import socket
import threading
from collections.abc import Callable

from reconciler.api.gate import Gate, url
from reconciler.api.plain import answer, refusal
from reconciler.api.stream import Limits, Stream

QUESTION = re.compile(rb"(?:\r\n)?GET /healthz?(?:\?[^ ]*)? HTTP/1\.[01]\r\n")
LIMITS = Limits(head_bytes=4 << 10, connections=256, per_address=64, on_loopback=128)
OK = answer(200, {"status": "ok"})
FAILED = answer(503, {"status": "failed"})
NOTHING = refusal(404, "only GET /health is here")


class HealthServer:
    """`healthy` is called for each question; it must answer at once."""

    def __init__(self, host: str, port: int, *, healthy: Callable[[], bool]) -> None:
        self._where = host, port
        self._healthy = healthy
        self._gate = Gate(LIMITS, self._ready)
        self._thread = threading.Thread(target=self._gate.run, name="health", daemon=True)
        self._listener: socket.socket | None = None

    @property
    def url(self) -> str:
        """Once started."""
        assert self._listener is not None
        return url("http", self._listener.getsockname()) + "/health"

    def start(self) -> None:
        """Raises OSError where the address cannot be had."""
        family = socket.AF_INET6 if ":" in self._where[0] else socket.AF_INET
        self._listener = socket.create_server(self._where, family=family)
        self._gate.listen(self._listener, None)
        self._thread.start()

    def stop(self) -> None:
        if self._listener is not None:
            self._gate.stop()
            self._gate.close()
            self._listener.close()

    def _ready(self, stream: Stream) -> None:
        if QUESTION.match(stream.given):
            stream.say(OK if self._healthy() else FAILED)
        else:
            stream.say(NOTHING)
        self._gate.drain(stream)
