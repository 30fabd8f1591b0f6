"""Whole answers as bytes, for what is said without the application; refusals in the one shape of errors."""

import json
from http import HTTPStatus

from manifests.codec import Json
from reconciler.api.http import ApiError


def refusal(status: int, message: str) -> bytes:
    code = HTTPStatus(status).phrase.lower().replace(" ", "_")
    return answer(status, ApiError(status, code, message).answer.body)


def answer(status: int, body: Json) -> bytes:
    """It ends the connection."""
    data = json.dumps(body).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + data
