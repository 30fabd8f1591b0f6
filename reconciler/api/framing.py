"""What a request may look like: cheroot's parser, with tighter rules.

Refused before the application sees it: ambiguous framing (two lengths, a length and chunks, signs and
spaces in it), folded and malformed headers, too many or too large ones. A connection whose request
was not read to its end is closed, not read on: nobody makes us swallow 10 GB to say 401.
"""

import re
from contextlib import suppress
from typing import Any

from cheroot import server as http

from reconciler.api.plain import refusal

MOST_HEADERS = 100
MOST_REQUESTS = 1000
"""On one connection, one after the other or all at once."""

NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^`|~-]+")
ONCE = (b"Content-Length", b"Transfer-Encoding", b"Host", b"Authorization", b"Content-Type")
TOO_MANY = "too many headers"
STATUS = {
    TOO_MANY: (431, TOO_MANY),
    "413": (431, "the headers are too large"),
    "414": (431, "the request line is too long"),
    "501": (501, "the transfer coding is not known: send the body with a Content-Length"),
    "505": (505, "only HTTP/1.1 is spoken here"),
}
"""By cheroot's status, or by what `Headers` said."""


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
            raise ValueError(TOO_MANY)
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

    def send_headers(self) -> None:
        if self._unread() or self.conn.requests_seen >= MOST_REQUESTS:
            self.close_connection = True
        super().send_headers()

    def _unread(self) -> bool:
        return self.chunked_read or getattr(self.rfile, "remaining", 0) > 0

    def simple_response(self, status: str, msg: str = "") -> None:
        """The server's own refusals."""
        number, _, phrase = str(status).partition(" ")
        code, text = STATUS.get(msg) or STATUS.get(number) or (int(number), msg or phrase)
        self.close_connection = True
        with suppress(OSError):
            self.conn.wfile.write(refusal(code, text))
