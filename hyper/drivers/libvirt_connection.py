"""One connection to libvirtd that comes back: opened when needed, watched by keepalive, reopened.

Here: the event loop, the connection's life, and libvirt's errors as ours. Not here: domains.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import libvirt

from hyper.drivers import DriverError, EngineDown, Refused

OPEN_SECONDS = 10.0
KEEPALIVE = (5, 3)
"""Seconds between pings, and how many may stay unanswered: it bounds every call to 20 s."""

GONE = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_NETWORK)
REFUSED = (
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_XML_ERROR,
    libvirt.VIR_ERR_XML_DETAIL,
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
)


class Gone(DriverError):
    """What the call was about does not exist, or not any more."""


class WrongState(DriverError):
    """The domain is running already, or not running."""


class Busy(DriverError):
    """Another call has had the domain for half a minute: that of a frozen qemu never ends."""


KINDS: dict[int, type[DriverError]] = {
    libvirt.VIR_ERR_OPERATION_INVALID: WrongState,
    libvirt.VIR_ERR_OPERATION_TIMEOUT: Busy,
}


Event = Callable[[str, int], None]
"""Called with a domain's UUID and the VIR_DOMAIN_EVENT_*, from the event loop: must be quick."""


class Connection:
    def __init__(self, uri: str, on_event: Event, on_lost: Callable[[], None]) -> None:
        self._uri = uri
        self._on_event = on_event
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._conn: Any = None
        self._opening: _Opening | None = None
        self._closed = False

    @contextmanager
    def use(self, doing: str) -> Iterator[Any]:
        """The open connection; in the block libvirt's errors become ours, saying `doing`."""
        conn = self._open()
        try:
            yield conn
        except libvirt.libvirtError as error:
            raise self._translated(conn, error, doing) from None

    def _open(self) -> Any:
        with self._lock:
            if self._closed:
                raise EngineDown("the driver is closed")
            if self._conn is not None and not _alive(self._conn):
                _close(self._conn)
                self._conn = None
                self._on_lost()  # its own callback may not have come, and does not come any more
            if self._conn is None:
                self._conn = self._connect()
            return self._conn

    def _connect(self) -> Any:
        """A libvirtd that is frozen accepts and says nothing, hence the thread and its timeout.
        While such an attempt hangs it is the only one, and nobody else waits for it."""
        start_event_loop()
        patience = 0 if self._opening else OPEN_SECONDS
        self._opening = self._opening or _Opening(self._uri)
        try:
            conn = self._opening.result(patience)
        except TimeoutError:
            raise EngineDown("libvirtd does not answer") from None
        except libvirt.libvirtError as error:
            self._opening = None
            raise EngineDown(f"cannot connect to libvirtd: {_text(error)}") from None
        self._opening = None
        try:
            with suppress(libvirt.libvirtError):  # in-process drivers have no keepalive
                conn.setKeepAlive(*KEEPALIVE)
            with suppress(libvirt.libvirtError):
                conn.registerCloseCallback(lambda *_: self._on_lost(), None)
            conn.domainEventRegisterAny(
                None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._tell, None
            )
        except libvirt.libvirtError as error:
            _close(conn)
            raise EngineDown(f"libvirtd went away: {_text(error)}") from None
        return conn

    def _tell(self, _conn: Any, domain: Any, event: int, _detail: int, _opaque: Any) -> None:
        self._on_event(domain.UUIDString(), event)

    def _translated(self, conn: Any, error: Any, doing: str) -> DriverError:
        if not _alive(conn):
            self._on_lost()
            return EngineDown(f"libvirtd went away during an attempt to {doing}")
        code = error.get_error_code()
        if code in GONE:
            return Gone(f"cannot {doing}: it does not exist")
        kind = Refused if code in REFUSED else KINDS.get(code, DriverError)
        return kind(f"libvirt could not {doing}: {_text(error)}")

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._conn is not None:
                _close(self._conn)
                self._conn = None


class _Opening:
    """libvirt.open in a thread of its own, which nothing can interrupt while libvirtd is frozen."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._done = threading.Event()
        self._conn: Any = None
        self._error: Any = None
        threading.Thread(target=self._run, name="libvirt-open", daemon=True).start()

    def _run(self) -> None:
        try:
            self._conn = libvirt.open(self._uri)
        except libvirt.libvirtError as error:
            self._error = error
        self._done.set()

    def result(self, seconds: float) -> Any:
        if not self._done.wait(seconds):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._conn


def _alive(conn: Any) -> bool:
    try:
        return bool(conn.isAlive())
    except libvirt.libvirtError:
        return False


def _close(conn: Any) -> None:
    with suppress(libvirt.libvirtError):
        conn.unregisterCloseCallback()
    with suppress(libvirt.libvirtError):
        conn.close()


def _text(error: Any) -> str:
    return " ".join((error.get_error_message() or "no reason given").split())[:300]


_loop_lock = threading.Lock()
_loop: threading.Thread | None = None


def start_event_loop() -> None:
    """One event loop per process, before the first connection: libvirt allows no other order."""
    global _loop
    with _loop_lock:
        if _loop is None:
            libvirt.registerErrorHandler(lambda *_: None, None)  # else each error goes to stderr
            libvirt.virEventRegisterDefaultImpl()
            _loop = threading.Thread(target=_run_loop, name="libvirt-events", daemon=True)
            _loop.start()


def _run_loop() -> None:
    while True:
        with suppress(libvirt.libvirtError):
            libvirt.virEventRunDefaultImpl()
