"""Calls a WSGI application in process where the client would use a socket."""

import io
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import setup_testing_defaults

from iaasctl.transport import Request, Response


class WsgiTransport:
    def __init__(self, app: Any, token: str = "secret") -> None:
        self._app = app
        self._token = token

    def send(self, request: Request) -> Response:
        status: list[tuple[str, list[tuple[str, str]]]] = []
        parts: Iterable[bytes] = self._app(
            self._environ(request), lambda line, headers, exc=None: status.append((line, headers))
        )
        body = b"".join(parts)
        if hasattr(parts, "close"):
            parts.close()
        line, headers = status[-1]
        return Response(int(line[:3]), {name.lower(): value for name, value in headers}, body)

    def _environ(self, request: Request) -> dict[str, Any]:
        body = request.body or b""
        body = body if isinstance(body, bytes) else body.read()
        path, _, query = request.path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            "REMOTE_ADDR": "127.0.0.1",
        }
        for name, value in {**request.headers, "Authorization": f"Bearer {self._token}"}.items():
            key = name.upper().replace("-", "_")
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
        setup_testing_defaults(environ)
        return environ

    def close(self) -> None:
        pass

    def another(self) -> "WsgiTransport":
        return self
