"""The client's methods that change nothing: objects, events, and following them."""

import math
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from iaasctl import answers
from iaasctl.answers import Object
from iaasctl.asking import LAST_PAUSE, Asker
from iaasctl.transport import Request

LONG_POLL = 25.0
SLACK = 15.0


class Seen(NamedTuple):
    """Objects as they were at one time; `etag` tells the server which."""

    objects: tuple[Object, ...]
    etag: str


class Reading:
    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def health(self) -> Object:
        return self._asker.get("/health", answers.one)

    def objects(self, plural: str, filters: Mapping[str, str] | None = None) -> list[Object]:
        """Every object of a kind, by its plural: nodes, images, machines."""
        return self._asker.get(_path(plural, filters), answers.objects)

    def object(self, plural: str, name: str) -> Object:
        return self._asker.get(path_of(plural, name), answers.one)

    def events(self, **query: str) -> list[Object]:
        """Events, oldest first; `query`: since, kind, name, limit."""
        return self._asker.get(_path("events", query), answers.objects)

    def audit(self, **query: str) -> list[Object]:
        """Who changed what and who was refused, oldest first; `query`: since, limit. For admins."""
        return self._asker.get(_path("audit", query), answers.objects)

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
        response = self._asker.patiently(
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


def path_of(plural: str, name: str) -> str:
    """The path of one object."""
    return f"/iaas/{plural}/{quote(name, safe='', errors='replace')}"


def _path(plural: str, query: Mapping[str, str] | None) -> str:
    return f"/iaas/{plural}?{urlencode(query, errors='replace')}" if query else f"/iaas/{plural}"
