"""Requests to one server, and which of them may be sent again. Not here: what is asked."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from iaasctl import answers
from iaasctl.errors import Unreachable
from iaasctl.transport import Request, Response, Transport

T = TypeVar("T")
PATIENCE = 30.0
FIRST_PAUSE = 0.05
LAST_PAUSE = 1.0
PAUSES = (0.3, 1.5)
"""Seconds before a change that may be repeated is sent again."""
AWAY = (429, 503)
"""Statuses of a server that asks to come back."""
CHANGE_SECONDS = 300.0


class Asker:
    """Asks one reconciler. `patience`: for how long a server that had answered may be away."""

    def __init__(self, transport: Transport, patience: float = PATIENCE) -> None:
        self.transport = transport
        self.patience = patience
        self._answered = False

    def get(self, path: str, read: Callable[[Any], T]) -> T:
        return answers.parsed(self.patiently(Request(method="GET", path=path)), read)

    def once(self, request: Request) -> Response:
        response = self.transport.send(request)
        self._answered = True
        return response

    def patiently(self, request: Request) -> Response:
        """Repeats a request that changes nothing: long while a server that had answered restarts,
        once when the connection broke, not at all when nobody was there from the beginning."""
        deadline = time.monotonic() + self.patience if self._answered else 0
        pause = FIRST_PAUSE
        while True:
            try:
                response = self.transport.send(request)
            except Unreachable as error:
                may_repeat = error.dropped and pause == FIRST_PAUSE
                if not may_repeat and time.monotonic() > deadline:
                    raise
            else:
                if response.status not in AWAY or time.monotonic() > deadline:
                    self._answered = True
                    return response
            time.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE)

    def again(self, request: Request, fix: str) -> Response:
        """Repeats a change that is done once however often it comes: after a lost answer, and where
        the server asks for it. `fix`: what to do when nobody knows whether it was done."""
        lost, pauses = False, list(PAUSES)
        while True:
            try:
                response = self.once(request)
            except Unreachable as error:
                lost = lost or error.maybe_done
                if not pauses or not (lost or self._answered):
                    error.fix = f"nobody knows whether it was done: {fix}" if lost else error.fix
                    raise
            else:
                if response.status not in AWAY or not pauses:
                    return _deleted(request, response) if lost else response
            time.sleep(pauses.pop(0))


def _deleted(request: Request, response: Response) -> Response:
    """What is not found when it is deleted again was deleted the first time."""
    gone = request.method == "DELETE" and response.status == 404
    return Response(204, response.headers, b"") if gone else response
