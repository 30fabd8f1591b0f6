"""What the server itself refuses, before or without the application: in the one shape of errors."""

import json
from http import HTTPStatus

from reconciler.api.http import ApiError


def refusal(status: int, message: str) -> bytes:
    """A whole answer that ends the connection."""
    phrase = HTTPStatus(status).phrase
    answer = ApiError(status, phrase.lower().replace(" ", "_"), message).answer
    body = json.dumps(answer.body).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + body
