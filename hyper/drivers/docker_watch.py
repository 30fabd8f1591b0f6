"""Who tells the agent of changes to containers: one thread that reads the engine's events.

Here: reading them across restarts of the engine. Not here: what a change means.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hyper.core.looking import STRANGERS
from hyper.drivers import DriverError, Notify
from hyper.drivers.docker_connection import connect, plainly
from hyper.drivers.docker_words import CLUSTER

CONNECT_TIMEOUT = 60
CLOSE_TIMEOUT = 5.0
RECONNECT = (0.2, 2.0)
"""Seconds before the events are asked for again: the first time, and at most."""

EVENTS = ["start", "die", "destroy", "pause", "unpause", "update", "rename", "oom"]
FILTERS = {"type": ["container"], "event": EVENTS}
APPEARANCES = ("start", "die", "destroy", "rename")
"""What changes the list of strangers and of the ports they have."""

log = logging.getLogger(__name__)


class Watcher:
    """Tells of events from its own thread, across restarts of the engine."""

    def __init__(
        self, base_url: str, cluster: str, notify: Notify, reconnected: Callable[[], None]
    ) -> None:
        self._base_url = base_url
        self._cluster = cluster
        self._notify = notify
        self._reconnected = reconnected
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._run, name="docker-events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        with self._lock:
            self._closed.set()
            self._hang_up()
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_TIMEOUT)  # longer only if the engine is frozen mid-answer

    def _run(self) -> None:
        delay, most = RECONNECT
        while not self._closed.is_set():
            try:
                self._listen()
                delay = RECONNECT[0]
            except DriverError as error:
                log.debug("docker events: %s", error)
            except Exception as error:  # an event that is not as they are; the next may be
                log.warning("docker events: asking anew after %r", error)
            if not self._closed.wait(delay):
                delay = min(2 * delay, most)

    def _listen(self) -> None:
        """One connection, from asking to its end."""
        with plainly():
            client = connect(self._base_url, CONNECT_TIMEOUT)
            try:
                # The engine answers just before it listens; what happens in between is in `since`.
                since = int(time.time()) - 1
                stream = client.events(filters=FILTERS, decode=True, since=since)
                with self._lock:
                    self._stream = stream
                    if self._closed.is_set():
                        self._hang_up()
                self._tell(None)
                for event in stream:
                    self._hear(event)
            finally:
                client.close()
                self._reconnected()
        self._tell(None)  # the engine has gone, perhaps

    def _hear(self, event: dict[str, Any]) -> None:
        actor = event["Actor"]
        if actor.get("Attributes", {}).get(CLUSTER) == self._cluster:
            self._tell(actor["ID"])
        elif event["Action"] in APPEARANCES:
            self._tell(STRANGERS)

    def _tell(self, handle: str | None) -> None:
        if not self._closed.is_set():
            self._notify(handle)

    def _hang_up(self) -> None:
        # Shuts the socket down below the thread that reads from it; that is what ends its read.
        if self._stream is not None:
            with suppress(Exception):
                self._stream.close()
