"""Ports, the pages behind them, and waiting: always for something, never longer than a deadline."""

import http.client
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 60.0
RATE = 20
"""Fetches per second of a Prober."""

_taken: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on and that none of our tests has been given."""
    while True:
        port = random.SystemRandom().randrange(20_000, 30_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
        if port not in _taken:
            _taken.add(port)
            return port


def own_address() -> str:
    """The host's address on its way out; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.200", 9))
        return str(probe.getsockname()[0])


def fetch(port: int, host: str = "127.0.0.1", timeout: float = 5) -> str:
    """The page at /; raises OSError or HTTPException."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        page = answer.read().decode()
        if answer.status != 200:
            raise OSError(f"HTTP {answer.status}")
        return page
    finally:
        connection.close()


def until(what: str, condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What `condition` gives once it is true; fails when the patience ends."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:.0f} s: {what}")
        time.sleep(0.02)
    return found


def answers(port: int, host: str = "127.0.0.1") -> str:
    """The page, or "" while there is none."""
    try:
        return fetch(port, host, timeout=2)
    except (OSError, http.client.HTTPException):
        return ""


class Prober:
    """Fetches a page again and again while its block runs; `failures` has what went wrong."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.fetched = 0
        self.failures: list[str] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._done.wait(1 / RATE):
            try:
                fetch(self.port)
                self.fetched += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{time.strftime('%X')} {error!r}")

    def __enter__(self) -> "Prober":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(10)
