"""Which addresses the controller may fetch from: public ones. It stands inside networks that whoever
writes a manifest does not, beside things that trust their neighbours: metadata services, registries,
other machines' admin pages.
"""

import asyncio
import socket
import threading
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

PUBLIC_6 = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")
NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments; one cloud keeps its metadata there
        "192.88.99.0/24",  # relays to 6to4
        "168.63.129.16/32",  # another cloud's wire server
        "2001::/23",  # protocol assignments, Teredo among them
        "3fff::/20",  # documentation
    )
)
"""What the standard library calls global, or did before its last lists."""


def is_public(text: str) -> bool:
    """Whether an address, as the resolver gives it, is one of the public internet."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.scope_id:
            return False
        if (inner := _inner(address)) is not None:
            return is_public(str(inner))
        if address not in PUBLIC_6:
            return False
    if any(address in network for network in NOT_PUBLIC if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The address that one of IPv6 stands for."""
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, in the resolver's order. Raises OSError.

    In a thread of its own, that nobody waits for: a resolver may take minutes to give up, and then
    the program could not end.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Any]] = loop.create_future()

    def tell(set_: Any, value: Any) -> None:
        if not answer.done():
            set_(value)

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            said = answer.set_result, found
        except (OSError, UnicodeError) as error:
            said = answer.set_exception, OSError(None, str(error))  # type: ignore[assignment]
        with suppress(RuntimeError):  # the program may have ended meanwhile
            loop.call_soon_threadsafe(tell, *said)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    return list(dict.fromkeys(str(entry[4][0]) for entry in await answer))
