"""Fetching from an https URL that a manifest named: only from where we mean to, and only so much.

Each hop is resolved once, its addresses are checked, and the connection goes to the very address that
was checked, with the certificate verified for the name. No proxy, no credential, no cookie, and no
redirect to anything but https. Not here: where the bytes go.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

import httpx2 as httpx

from manifests.scalars import HttpsUrl
from reconciler.images.addresses import is_public, resolve

MOST_REDIRECTS = 3
REDIRECTS = (301, 302, 303, 307, 308)
MOST_ADDRESSES = 4
PIECE = 1 << 20
PHRASES = {int(status): f" {status.phrase}" for status in HTTPStatus}


class FetchError(Exception):
    """A sentence for people; holds no query of a URL."""


class CannotContinue(FetchError):
    """The server has no more than is here already: begin anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """`head`: seconds until an answer begins, for each hop. Of the body, at least `least` bytes come
    in each `window` seconds, and all of them within `whole` seconds."""

    head: float = 30.0
    window: float = 30.0
    least: int = 300_000
    whole: float = 24 * 3600.0


USUAL = Pace()


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes from `start` on; `length` of them, None where that is not told."""

    start: int
    length: int | None
    pieces: AsyncIterator[bytes]


class Https:
    """`trusted`: names of hosts that may have any address."""

    def __init__(self, trusted: Collection[str] = (), pace: Pace = USUAL) -> None:
        self._trusted = frozenset(name.lower() for name in trusted)
        self._pace = pace
        self._tls = ssl.create_default_context()

    @asynccontextmanager
    async def get(self, url: HttpsUrl, offset: int = 0) -> AsyncIterator[Body]:
        """The bytes at `url`, from `offset` on if the server can do that. Raises FetchError."""
        for _ in range(MOST_REDIRECTS + 1):
            async with self._hop(url, offset) as response:
                if response.status_code not in REDIRECTS:
                    yield self._body(response, url, offset)
                    return
                url = _target(url, response.headers.get("location", ""))
        raise FetchError(f"more than {MOST_REDIRECTS} redirects")

    @asynccontextmanager
    async def _hop(self, url: HttpsUrl, offset: int) -> AsyncIterator[httpx.Response]:
        """One request, and its answer without its body."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
        headers = {"Host": parts.netloc, "Accept-Encoding": "identity", "User-Agent": "iaas"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        client = httpx.AsyncClient(
            verify=self._tls, trust_env=False, timeout=self._pace.window, cookies=None
        )
        async with client:
            try:
                async with asyncio.timeout(self._pace.head):
                    response = await self._connected(client, url, host, port, headers)
            except TimeoutError:
                raise FetchError(f"{host} does not answer") from None
            except (httpx.HTTPError, OSError) as error:
                raise FetchError(f"{host} cannot be reached: {_reason(error)}") from None
            try:
                yield response
            finally:
                await response.aclose()

    async def _connected(
        self,
        client: httpx.AsyncClient,
        url: HttpsUrl,
        host: str,
        port: int,
        headers: dict[str, str],
    ) -> httpx.Response:
        """The beginning of an answer from the first address that takes a connection."""
        *others, last = (await self._addresses(host, port))[:MOST_ADDRESSES]
        for address in (*others, last):
            request = client.build_request(
                "GET",
                f"https://[{address}]:{port}/" if ":" in address else f"https://{address}:{port}/",
                headers=headers,
                # The path as it was written, and the name that the certificate must have.
                extensions={"target": _path(url), "sni_hostname": host},
            )
            try:
                return await client.send(request, stream=True)
            except httpx.ConnectError:
                if address == last:
                    raise
        raise AssertionError

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Those that may be connected to; there is at least one."""
        try:
            found = await resolve(host, port)
        except OSError as error:
            raise FetchError(f"{host} has no address: {_reason(error)}") from None
        if host not in self._trusted and not all(map(is_public, found)):
            raise FetchError(
                f"{host} is not a host of the public internet;"
                f" iaas-reconciler --trust-url-host {host} allows it"
            )
        return found

    def _body(self, response: httpx.Response, url: HttpsUrl, offset: int) -> Body:
        host, status = urlsplit(url).hostname, response.status_code
        if status == 416 and offset:
            raise CannotContinue(f"{host} has nothing beyond {offset} bytes")
        if status not in (200, 206):
            raise FetchError(f"{host} answered {status}{PHRASES.get(status, '')}")
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise FetchError(f"{host} sends it encoded, which was not asked for")
        start = offset if status == 206 else 0
        if status == 206 and not response.headers.get("content-range", "").startswith(
            f"bytes {offset}-"
        ):
            raise CannotContinue(f"{host} sends another part than was asked for")
        length = response.headers.get("content-length")
        pieces = self._pieces(response, host or "")
        return Body(start, int(length) if length is not None else None, pieces)

    async def _pieces(self, response: httpx.Response, host: str) -> AsyncIterator[bytes]:
        """Large ones; also the last one before a failure."""
        piece, failure = bytearray(), None
        try:
            async for chunk in self._paced(response, host):
                piece += chunk
                if len(piece) >= PIECE:
                    yield bytes(piece)
                    piece.clear()
        except (httpx.HTTPError, OSError) as error:
            failure = FetchError(f"the connection to {host} broke: {_reason(error)}")
        except FetchError as error:
            failure = error
        if piece:
            yield bytes(piece)
        if failure:
            raise failure

    async def _paced(self, response: httpx.Response, host: str) -> AsyncIterator[bytes]:
        """As they come, at no less than the least pace."""
        clock = asyncio.get_running_loop().time
        begun, came = clock(), 0
        end = begun + self._pace.whole
        async for chunk in response.aiter_raw():
            yield chunk
            came += len(chunk)
            now = clock()
            if now > begun + self._pace.window:
                if came < self._pace.least:
                    raise FetchError(f"{host} is too slow: {came} bytes in {now - begun:.0f} s")
                begun, came = now, 0
            if now > end:
                raise FetchError(f"{host} took more than {self._pace.whole:.0f} s")


def _path(url: HttpsUrl) -> bytes:
    parts = urlsplit(url)
    return (parts.path + (f"?{parts.query}" if parts.query else "")).encode()


def _target(url: HttpsUrl, location: str) -> HttpsUrl:
    """Where a redirect leads, under the same rules as what a manifest says."""
    try:
        return HttpsUrl.from_json(urljoin(url, location).partition("#")[0])
    except ValueError:
        host = urlsplit(url).hostname
        raise FetchError(f"{host} redirects to what is no plain https address") from None


def _reason(error: BaseException) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not valid ({cause.verify_message})"
        cause = cause.__cause__ or cause.__context__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
