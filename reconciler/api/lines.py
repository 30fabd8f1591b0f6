"""Connections in the order of their deadlines, and whom each counts for."""

import time
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from reconciler.api.stream import Stream

LOOPBACK = "loopback"


class Line(dict[Stream, None]):
    """Connections that wait for one thing, each for `seconds`: in the order of their deadlines."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def join(self, stream: Stream) -> None:
        """At the end, also for one that is in it."""
        self.pop(stream, None)
        self[stream] = None
        stream.deadline = time.monotonic() + self._seconds

    @property
    def first(self) -> Stream | None:
        return next(iter(self), None)


@lru_cache(maxsize=1024)
def owner_of(host: str) -> str:
    """Whom a connection counts for: an IPv4 address, a network of IPv6 (/64), or LOOPBACK."""
    found: IPv4Address | IPv6Address = ip_address(host.partition("%")[0])
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    if found.is_loopback:
        return LOOPBACK
    return str(found) if found.version == 4 else found.exploded[:19]
