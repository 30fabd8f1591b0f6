"""From an https URL into the library: continued where it stopped, verified, durable.

Not here: when, how often, and what it is for.
"""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from manifests.scalars import HttpsUrl, Sha256
from reconciler.images.https import Body, CannotContinue, FetchError, Https
from reconciler.images.library import Library
from reconciler.images.writing import Writer

P = ParamSpec("P")
T = TypeVar("T")
Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and, where it is told, those that there will be."""


async def fetch(
    https: Https, library: Library, url: HttpsUrl, sha256: Sha256, progress: Progress
) -> None:
    """Have the bytes of this digest in the library. What came of them is kept when it fails, unless
    they are wrong. Raises FetchError, ImageError."""
    with library.writer(sha256) as writer:
        try:
            await _receive(https, url, writer, progress)
        except CannotContinue:
            writer.restart()
            await _receive(https, url, writer, progress)
        while not await _in_thread(writer.catch_up):
            pass
        await _in_thread(writer.finish, sha256)


async def _receive(https: Https, url: HttpsUrl, writer: Writer, progress: Progress) -> None:
    async with https.get(url, writer.offset) as body:
        if body.start != writer.offset:
            writer.restart()
        total = _total(body)
        writer.expect(body.length or 0)
        async for piece in body.pieces:
            await _in_thread(writer.write, piece)
            progress(writer.offset, total)
    if total is not None and writer.offset != total:
        raise FetchError(f"{writer.offset} bytes came instead of {total}")


def _total(body: Body) -> int | None:
    return None if body.length is None else body.start + body.length


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """A slow disk must not hold up the fleet. When cancelled, it is over nevertheless before the file
    is closed."""
    working = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        raise
