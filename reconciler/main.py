"""The program `iaas-reconciler`: wires the control plane together, serves it, and ends it cleanly."""

import argparse
import asyncio
import logging
import resource
import signal
import ssl
import sys
import time
import uuid
from collections.abc import Coroutine
from typing import Any

from manifests.scalars import Name, Uid
from manifests.tokens import TokenError, token_from
from manifests.wire import Assignment
from reconciler.api.app import make_app
from reconciler.api.auth import Tokens
from reconciler.api.deps import Deps
from reconciler.api.health import HealthServer
from reconciler.api.roles import Role
from reconciler.api.serve import Server
from reconciler.api.tls import TlsError, server_context
from reconciler.api.tokenfiles import token_files
from reconciler.cluster import Cluster
from reconciler.fetching import Fetcher
from reconciler.fleet import Fleet
from reconciler.images import ImageError, Library
from reconciler.images.https import Https
from reconciler.loop import Loop
from reconciler.options import parse
from reconciler.signal import Signal
from reconciler.sources import Sources
from reconciler.store import Store, StoreError
from reconciler.submit import Desk, Refused
from reconciler.watch import Unwatchable, Watching, named

log = logging.getLogger("reconciler")

TIDY_SECONDS = 3600
DESCRIPTORS = 1 << 16


def main() -> None:
    options = parse()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_room()
        asyncio.run(run(options))
    except (StoreError, TokenError, TlsError, ImageError, Unwatchable, OSError) as error:
        sys.exit(f"iaas-reconciler: {error}")


async def run(options: argparse.Namespace) -> None:
    directories = named(options.watch)
    context = server_context(options.tls_cert, options.tls_key) if options.tls_cert else None
    agent_token = token_from(options.agent_token_file)
    tokens = Tokens({**token_files(options.state), Role.AGENT: lambda: agent_token})
    store = Store(options.state / "state.db")
    term = store.take_term()
    cluster = Cluster(store, Signal())
    library = Library(options.images)
    desk = Desk(
        cluster,
        library,
        new_uid=lambda: Uid(uuid.uuid4()),
        clock=time.time,
        image_sources=options.image_source,
    )
    sources = Sources(cluster, time.time)
    watching = Watching(directories, desk, sources, time.time)
    deps = Deps(cluster=cluster, desk=desk, library=library, tokens=tokens, sources=sources)
    deps.refusals.start()
    server, health = listen(options, deps, context)
    base = Assignment(
        cluster=store.cluster,
        term=term,
        node=Name(),
        generation=0,
        images_url=f"{server.inner_url}/iaas/blobs",
        images_token=agent_token,
    )
    print(f"ready {server.url}\nhealth {health.url}", flush=True)
    loop, fleet = Loop(cluster, term, time.time), Fleet(cluster, base, agent_token)
    fetcher = Fetcher(cluster, library, Https(options.trust_url_host), time.time)
    try:
        await until_told(loop.run(), fleet.run(), fetcher.run(), tidy(desk), watching.run())
    finally:
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(deps.refusals.stop)
        health.stop()
        store.close()
        library.close()


def listen(
    options: argparse.Namespace, deps: Deps, context: ssl.SSLContext | None
) -> tuple[Server, HealthServer]:
    """For the API and for questions of health. Raises OSError."""
    store = deps.cluster.store
    server = Server(make_app(deps), *options.listen, context=context, on_stop=deps.close)
    health = HealthServer(
        *options.health_listen, healthy=lambda: server.works and not store.failure
    )
    bind(health, options.health_listen)
    bind(server, options.listen)
    return server, health


def bind(server: Server | HealthServer, where: tuple[str, int]) -> None:
    try:
        server.start()
    except OSError:
        raise OSError(
            f"cannot listen on {where[0]}:{where[1]}: is it in use already, or no address of this host?"
        ) from None


def make_room() -> None:
    """For connections. Not without bounds: there are programs that try to close all there could be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, DESCRIPTORS)), hard))


async def tidy(desk: Desk) -> None:
    """Drop the bytes of images that nothing names any more, now and then."""
    while True:
        try:
            await asyncio.to_thread(desk.tidy)
        except (OSError, Refused):
            log.exception("the image library could not be tidied")
        await asyncio.sleep(TIDY_SECONDS)


async def until_told(*jobs: Coroutine[Any, Any, None]) -> None:
    """Run the jobs until SIGTERM or SIGINT, or until one of them gives up."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    work: list[asyncio.Future[Any]] = [asyncio.ensure_future(job) for job in jobs]
    told = asyncio.ensure_future(stop.wait())
    await asyncio.wait([*work, told], return_when=asyncio.FIRST_COMPLETED)
    failed = [task for task in work if task.done()]
    for task in (*work, told):
        task.cancel()
    await asyncio.gather(*work, told, return_exceptions=True)
    for task in failed:
        task.result()
