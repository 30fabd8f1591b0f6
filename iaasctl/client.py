"""The client library: one method for each thing the reconciler can be asked.

    from iaasctl import Client
    with Client.connect() as client:
        for machine in client.objects("machines"):
            print(machine["name"], machine["state"])

All methods raise `iaasctl.errors.Failure`.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple, Self, TypeVar
from urllib.parse import quote, urlencode

from iaasctl import answers
from iaasctl.answers import Object, Outcome
from iaasctl.errors import Unreachable
from iaasctl.settings import settings
from iaasctl.transport import HttpTransport, Request, Response, Transport

T = TypeVar("T")
LONG_POLL = 25.0
SLACK = 15.0
CHANGE_SECONDS = 300.0
PATIENCE = 30.0
FIRST_PAUSE = 0.05
LAST_PAUSE = 1.0
AWAY = (429, 503)
"""Statuses of a server that asks to come back."""


class Seen(NamedTuple):
    """Objects as they were at one time; `etag` tells the server which."""

    objects: tuple[Object, ...]
    etag: str


class Client:
    """Asks one reconciler. `patience`: for how long a server that had answered may be away."""

    def __init__(self, transport: Transport, patience: float = PATIENCE) -> None:
        self._transport = transport
        self._patience = patience
        self._answered = False

    @classmethod
    def connect(cls, server: str | None = None, token_file: str | None = None) -> Self:
        """A client of the server and token in force; see `iaasctl.settings`."""
        return cls(HttpTransport(settings(server, token_file)))

    def another(self) -> Self:
        """A client of the same server, for another thread."""
        return type(self)(self._transport.another(), self._patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    # -- reading ---------------------------------------------------------------------------------

    def health(self) -> Object:
        return self._get("/health", answers.one)

    def objects(self, plural: str, filters: Mapping[str, str] | None = None) -> list[Object]:
        """Every object of a kind, by its plural: nodes, images, machines."""
        return self._get(_path(plural, filters), answers.objects)

    def object(self, plural: str, name: str) -> Object:
        return self._get(f"/iaas/{plural}/{quote(name, safe='', errors='replace')}", answers.one)

    def events(self, **query: str) -> list[Object]:
        """Events, oldest first; `query`: since, kind, name, limit."""
        return self._get(_path("events", query), answers.objects)

    def look(
        self,
        plural: str,
        filters: Mapping[str, str] | None = None,
        *,
        wait: float = 0,
        seen: Seen | None = None,
    ) -> Seen:
        """The objects now; with `seen`, as soon as they differ from it, or `seen` after `wait`."""
        headers = {}
        if seen is not None and seen.etag:
            headers = {"If-None-Match": seen.etag}
            if wait > 0:
                headers["Prefer"] = f"wait={math.ceil(min(wait, LONG_POLL))}"
        elif wait > 0:  # a server without long polls
            time.sleep(min(wait, LAST_PAUSE))
        path = _path(plural, filters)
        timeout = LONG_POLL + SLACK
        response = self._patiently(
            Request(method="GET", path=path, headers=headers, timeout=timeout)
        )
        if response.status == 304 and seen is not None:
            return seen
        found = answers.parsed(response, answers.objects)
        return Seen(tuple(found), response.headers.get("etag", ""))

    def follow(
        self, plural: str, filters: Mapping[str, str] | None = None
    ) -> Iterator[tuple[Object, ...]]:
        """The objects now, and again whenever they change. Endless."""
        seen = self.look(plural, filters)
        yield seen.objects
        while True:
            latest = self.look(plural, filters, wait=LONG_POLL, seen=seen)
            if latest.objects != seen.objects:
                yield latest.objects
            seen = latest

    # -- changing --------------------------------------------------------------------------------

    def apply(
        self,
        source: str,
        documents: Sequence[Any],
        *,
        prune: bool = True,
        approve: bool = False,
        dry_run: bool = False,
    ) -> Outcome:
        """Make `documents` the desired state of `source`, all or nothing; tells what changes."""
        body = {
            "source": source,
            "documents": documents,
            "prune": prune,
            "approve": approve,
        }
        return self._change("/iaas/apply", body, dry_run)

    def delete(
        self, keys: Iterable[tuple[str, str]], *, approve: bool = False, dry_run: bool = False
    ) -> Outcome:
        """Delete objects by (kind, name), all or nothing."""
        items = [{"kind": kind, "name": name} for kind, name in keys]
        return self._change("/iaas/delete", {"objects": items, "approve": approve}, dry_run)

    def has_blob(self, sha256: str) -> bool:
        request = Request(method="HEAD", path=f"/iaas/blobs/{sha256}")
        response = self._patiently(request)
        if response.status >= 400 and response.status != 404:
            raise answers.failure(response.status, {})
        return response.status < 300

    def put_blob(self, sha256: str, file: IO[bytes], size: int) -> None:
        """Upload image bytes; the server checks their digest."""
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        request = Request(
            method="PUT",
            path=f"/iaas/blobs/{sha256}",
            headers=headers,
            body=file,
            timeout=CHANGE_SECONDS,
        )
        response = self._transport.send(request)
        if response.status >= 300:
            answers.parsed(response, answers.one)

    # -- requests --------------------------------------------------------------------------------

    def _get(self, path: str, read: Callable[[Any], T]) -> T:
        return answers.parsed(self._patiently(Request(method="GET", path=path)), read)

    def _change(self, path: str, body: Mapping[str, Any], dry_run: bool) -> Outcome:
        request = Request(
            method="POST",
            path=f"{path}?dryRun=true" if dry_run else path,
            headers={"Content-Type": "application/json"},
            body=json.dumps(body).encode(),
            timeout=CHANGE_SECONDS,
        )
        try:
            response = self._transport.send(request)
        except Unreachable as error:
            if error.maybe_done and not dry_run:
                error.fix = (
                    "nobody knows whether it was done: run the same command again, that is safe"
                )
            raise
        self._answered = True
        return answers.parsed(response, answers.outcome)

    def _patiently(self, request: Request) -> Response:
        """Repeats a request that changes nothing: long while a server that had answered restarts,
        once when the connection broke, not at all when nobody was there from the beginning."""
        deadline = time.monotonic() + self._patience if self._answered else 0
        pause = FIRST_PAUSE
        while True:
            try:
                response = self._transport.send(request)
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


def _path(plural: str, query: Mapping[str, str] | None) -> str:
    return f"/iaas/{plural}?{urlencode(query, errors='replace')}" if query else f"/iaas/{plural}"
