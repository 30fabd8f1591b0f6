"""The sockets of the fleet: one asyncio task per node, one long-polled question at a time.

A new generation cuts the waiting question short, so that a change reaches its node in milliseconds;
an idle node costs one exchange every few seconds. A dead node delays nobody.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import httpx2 as httpx

from manifests.codec import CodecError, dump, load
from manifests.scalars import Name
from manifests.wire import Assignment, Exchange, Report
from reconciler.cluster import Cluster
from reconciler.fleet.session import POLL, Session

log = logging.getLogger("reconciler")

TIMEOUT = httpx.Timeout(connect=3, read=POLL + 5, write=5, pool=5)
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
PATIENCE = POLL + 5
MAX_REPORT = 64 * 1024 * 1024


class AgentError(Exception):
    """The agent did not answer, or refused; a sentence for people."""


class Fleet:
    def __init__(
        self,
        cluster: Cluster,
        base: Assignment,
        token: str,
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        """`patience`: seconds for a whole exchange, however slowly the agent talks."""
        self._cluster = cluster
        self._base = base
        self._clock = clock
        self._patience = patience
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._wakes: dict[tuple[str, str], asyncio.Event] = {}

    async def run(self) -> None:
        """Talk to every node there is, until cancelled."""
        loop, wake = asyncio.get_running_loop(), asyncio.Event()
        self._cluster.signal.subscribe(lambda: loop.call_soon_threadsafe(wake.set))
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(timeout=TIMEOUT, limits=limits, trust_env=False) as client:
            try:
                while True:
                    wake.clear()
                    self._meet(client)
                    await wake.wait()
            finally:
                for task in self._tasks.values():
                    task.cancel()
                await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _meet(self, client: httpx.AsyncClient) -> None:
        """One task for each (node, address); those of the gone or moved end. Then wake them all."""
        nodes = self._cluster.snapshot().of_kind("Node")
        wanted = {(str(node.name), str(node.node.address)) for node in nodes}
        for key in self._tasks.keys() - wanted:
            self._tasks.pop(key).cancel()
            del self._wakes[key]
            if key[0] not in {name for name, _ in wanted}:
                self._cluster.see(key[0], None)
        for key in wanted - self._tasks.keys():
            self._wakes[key] = asyncio.Event()
            self._tasks[key] = asyncio.create_task(self._talk(client, *key, self._wakes[key]))
        for event in self._wakes.values():
            event.set()

    async def _talk(
        self, client: httpx.AsyncClient, node: str, address: str, wake: asyncio.Event
    ) -> None:
        session = Session(Name(node), self._cluster, self._base, self._clock)
        pause = FIRST_PAUSE
        while True:
            try:
                await self._once(client, session, address, wake)
                pause = FIRST_PAUSE
            except AgentError as error:
                session.silent(str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except Exception:
                log.exception("talking to node %s failed", node)
                session.silent("internal error; see the reconciler's log")
                await asyncio.sleep(LONGEST_PAUSE)

    async def _once(
        self, client: httpx.AsyncClient, session: Session, address: str, wake: asyncio.Event
    ) -> None:
        """One question and its answer, or none because there is something newer to say."""
        wake.clear()
        number, question = session.ask()
        post = asyncio.create_task(self._post(client, address, question))
        woken: asyncio.Task[Any] | None = None
        try:
            while not post.done():
                woken = asyncio.create_task(wake.wait())
                await asyncio.wait({post, woken}, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
                wake.clear()
                told = question.assignment.generation if question.assignment else None
                if not post.done() and self._newer(session, told):
                    session.silent("it has not answered the last question")
                    return
            session.answer(number, post.result())
        finally:
            post.cancel()
            if woken:
                woken.cancel()

    def _newer(self, session: Session, told: int | None) -> bool:
        """Whether there is an assignment that the question under way does not carry."""
        snapshot = self._cluster.snapshot()
        if told is None:
            return session.behind(snapshot)
        return snapshot.generations.get(session.node, 0) > told

    async def _post(self, client: httpx.AsyncClient, address: str, question: Exchange) -> Report:
        body = json.dumps(dump(question), separators=(",", ":")).encode()
        url = f"http://{address}/v1/exchange"
        try:
            async with (
                asyncio.timeout(self._patience),
                client.stream("POST", url, content=body, headers=self._headers) as answer,
            ):
                data = await _read(address, answer)
        except (httpx.HTTPError, TimeoutError) as error:
            raise AgentError(f"no answer from {address}: {_why(error)}") from None
        if answer.status_code != 200:
            raise AgentError(_refusal(address, answer.status_code, data))
        try:
            return load(Report, json.loads(data))
        except (ValueError, RecursionError, CodecError) as error:
            raise AgentError(f"{address} answered nonsense: {error}") from None


async def _read(address: str, answer: httpx.Response) -> bytes:
    data = bytearray()
    async for chunk in answer.aiter_bytes():
        data += chunk
        if len(data) > MAX_REPORT:
            raise AgentError(f"{address} answered more than {MAX_REPORT >> 20} MiB")
    return bytes(data)


def _why(error: Exception) -> str:
    """What the operating system said, where it said anything: the layers above hide it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _refusal(address: str, status: int, data: bytes) -> str:
    try:
        said = str(json.loads(data)["message"])[:300]
    except (ValueError, KeyError, TypeError, RecursionError):
        said = f"status {status}"
    return f"the agent at {address} refuses: {said}"
