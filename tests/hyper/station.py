"""A runner on a simulated Docker, with its threads, and if wanted with its socket."""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from cheroot import wsgi

from hyper.agent import Agent
from hyper.api import make_app
from hyper.core.model import Host
from hyper.drivers.simulated import Engine, Simulated
from hyper.images import ImageCache
from hyper.ledger import Ledger, MemoryLedger
from hyper.runner import Runner
from hyper.workers import Workers
from manifests.scalars import Cpus, Memory, Sha256
from manifests.wire import Report
from tests.hyper.making import DOCKER, exchange
from tests.hyper.rig import TRAITS

LONG = 30.0
"""Seconds an exchange may wait: much longer than any test that passes takes."""
SOON = 10.0


def free_port() -> int:
    """A number rather than 0: only so does cheroot allow that the next one listens there at once."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Station:
    """`engine` and `ledger` may be another's, as after its death."""

    def __init__(
        self,
        root: Path,
        *,
        engine: Engine | None = None,
        ledger: Ledger | None = None,
        boot: str = "boot",
    ) -> None:
        self.engine = engine or Engine()
        self.ledger = ledger or MemoryLedger()
        images = ImageCache(root / "images")
        (root / "images" / Sha256("a" * 64)).write_text("a")
        host = Host(boot=boot, cpus=Cpus(8000), memory=Memory(65536), version="1")
        agent = Agent(ledger=self.ledger, engines={DOCKER: TRAITS[DOCKER]}, host=host)
        self.driver = Simulated(self.engine)
        self.images = images
        workers = Workers(
            drivers={DOCKER: self.driver},
            images=images,
            publisher=None,
            assignment=lambda: agent.assignment,
        )
        self.runner = Runner(agent, workers, self.bind)
        images.tell = self.runner.progress
        self.pool = ThreadPoolExecutor(16)
        self.server: wsgi.Server | None = None
        self.running = self.pool.submit(self.runner.run)

    def bind(self, cluster: str) -> None:
        self.driver.bind(cluster)
        self.driver.watch(partial(self.runner.notify, DOCKER))

    def ask(self, last: Report | None, wait: float = LONG) -> Report:
        """What a controller asks that knows `last`."""
        boot, revision = (last.boot, last.revision) if last else ("", 0)
        return self.runner.exchange(exchange(boot=boot, revision=revision, wait=wait))

    def asking(self, last: Report) -> "Future[Report]":
        return self.pool.submit(self.ask, last)

    def until(self, good: Callable[[Report], bool], report: Report | None = None) -> Report:
        """The first report that is so; each question waits for news."""
        deadline = time.monotonic() + SOON
        while report is None or not good(report):
            assert time.monotonic() < deadline, report
            report = self.ask(report)
        return report

    def serve(self, token: str, port: int = 0) -> int:
        """Listen on the loopback; the port."""
        app = make_app(self.runner.exchange, token)
        address = ("127.0.0.1", port or free_port())
        self.server = wsgi.Server(address, app, numthreads=4, shutdown_timeout=1)
        self.server.prepare()
        self.web = threading.Thread(target=self.server.serve)
        self.web.start()
        return int(self.server.bind_addr[1])

    def close(self) -> None:
        self.runner.stop()
        if self.server is not None:
            self.server.stop()
            self.web.join(SOON)
        self.driver.close()
        self.running.result(SOON)
        self.pool.shutdown()
