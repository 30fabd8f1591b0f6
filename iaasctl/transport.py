"""How requests reach the reconciler: one seam, so that tests can call its WSGI app in process.

A transport sends one request and returns the whole answer. It does not know what is asked, and
repeats nothing: that is the client's decision.
"""

import http.client
import select
import socket
import ssl
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from iaasctl.errors import Failure, Invalid, Unreachable
from iaasctl.settings import Settings

CONNECT_SECONDS = 5.0
ANSWER_LIMIT = 256 * 1024 * 1024
CHUNK = 1 << 18
STALL_SECONDS = 60.0
"""How long the network may take none of a body's bytes."""

TRUST = (
    "if it is of an authority of your own, name that with --ca-file or IAAS_CA (PEM);\n"
    "and write the server's name as in its certificate, with --server or IAAS_SERVER"
)

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Request(NamedTuple):
    """`timeout` is how long the answer may take to begin and to go on, in seconds."""

    method: str
    path: str
    headers: Mapping[str, str] = NO_HEADERS
    body: bytes | Readable | None = None
    timeout: float = 60.0


class Response(NamedTuple):
    """`headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    def send(self, request: Request) -> Response:
        """The answer; raises Unreachable when there is none."""

    def close(self) -> None: ...

    def another(self) -> "Transport":
        """One to the same server that can be used at the same time."""


class HttpTransport:
    """One kept connection to the server."""

    def __init__(self, settings: Settings, limit: int = ANSWER_LIMIT) -> None:
        self._settings = settings
        self._limit = limit
        self._connection: http.client.HTTPConnection | None = None

    def send(self, request: Request) -> Response:
        connection = self._connected()
        try:
            assert connection.sock is not None
            connection.sock.settimeout(min(request.timeout, STALL_SECONDS))
            self._write(connection, request)
            connection.sock.settimeout(request.timeout)
            return self._answer(connection, request)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._lost(error) from None
        except BaseException:
            self.close()
            raise

    def _write(self, connection: http.client.HTTPConnection, request: Request) -> None:
        headers = {**request.headers, **self._authorization()}
        try:
            connection.request(request.method, request.path, body=request.body, headers=headers)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            if request.body is None:
                raise  # else: refused before the end of the body, and the answer says why

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def another(self) -> "HttpTransport":
        return HttpTransport(self._settings, self._limit)

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is not None and self._connection.sock is not None:
            if not select.select([self._connection.sock], [], [], 0)[0]:
                return self._connection
            self.close()  # the server has closed it: nothing else could have come unasked
        connection = self._new_connection()
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise self._unreachable(error) from None
        self._connection = connection
        return connection

    def _new_connection(self) -> http.client.HTTPConnection:
        endpoint = self._settings.endpoint
        if endpoint.scheme == "http":
            return _PlainConnection(
                endpoint.host, endpoint.port, timeout=CONNECT_SECONDS, blocksize=CHUNK
            )
        return http.client.HTTPSConnection(
            endpoint.host,
            endpoint.port,
            timeout=CONNECT_SECONDS,
            blocksize=CHUNK,
            context=self._trust(),
        )

    def _trust(self) -> ssl.SSLContext:
        file = self._settings.ca_file
        try:
            return ssl.create_default_context(cafile=file or None)
        except OSError as error:  # SSLError is one, too
            why = "" if isinstance(error, ssl.SSLError) else error.strerror or str(error)
            raise Invalid(
                f"cannot use {file} as an authority to trust",
                why=why or "it holds no certificate in PEM",
                fix="name the certificate of the server's authority with --ca-file or IAAS_CA",
            ) from None

    def _authorization(self) -> dict[str, str]:
        token = self._settings.token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _answer(self, connection: http.client.HTTPConnection, request: Request) -> Response:
        answer = connection.getresponse()
        size = answer.length or 0
        deadline = time.monotonic() + request.timeout
        body = bytearray()
        while size <= self._limit and len(body) <= self._limit:
            if not (chunk := answer.read(CHUNK)):
                if answer.length:
                    raise http.client.IncompleteRead(bytes(body), answer.length)
                headers = {name.lower(): value for name, value in answer.getheaders()}
                return Response(answer.status, headers, bytes(body))
            body += chunk
            if time.monotonic() > deadline:
                raise TimeoutError("the answer does not end")
        raise Failure(
            f"the answer of {self._settings.endpoint} is larger than {self._limit >> 20} MiB",
            fix="ask for less: name the objects, or filter with FIELD=VALUE",
        )

    def _unreachable(self, error: OSError) -> Unreachable:
        endpoint = self._settings.endpoint
        if isinstance(error, ssl.SSLCertVerificationError):
            what = f"the certificate of {endpoint} is not trusted"
            return Unreachable(what, error.verify_message, TRUST)
        fix = "name the right server with --server or IAAS_SERVER"
        if endpoint.is_loopback:
            fix = (
                "is it running? start it with: iaas-reconciler (or: systemctl start iaas-reconciler)\n"
                "if it runs elsewhere, name it with --server or IAAS_SERVER"
            )
        return Unreachable(
            f"cannot reach the reconciler at {endpoint}", why=_reason(error), fix=fix
        )

    def _lost(self, error: Exception) -> Unreachable:
        endpoint = self._settings.endpoint
        fix = "try again; if it happens again, look at the log of iaas-reconciler"
        if isinstance(error, TimeoutError):
            what = f"the reconciler at {endpoint} does not answer"
            return Unreachable(what, _reason(error), fix, maybe_done=True)
        what = f"lost the connection to the reconciler at {endpoint}"
        dropped = isinstance(error, OSError | http.client.IncompleteRead)
        return Unreachable(what, _reason(error), fix, maybe_done=True, dropped=dropped)


class _PlainConnection(http.client.HTTPConnection):
    """Takes the host's name as bytes, which spares Python 5 ms of tables for names in Unicode."""

    def connect(self) -> None:
        address: Any = self.host.encode("ascii"), self.port
        self.sock = socket.create_connection(address, self.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead):
        return "the server closed the connection before the end of its answer"
    if isinstance(error, http.client.HTTPException):
        return f"that is no HTTP server, or a broken one: {type(error).__name__}"
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "it does not speak https"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
