"""The program `hyper`: wires the agent together, serves it, and ends it cleanly."""

import argparse
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hyper import engines, host
from hyper.agent import Agent
from hyper.api import MAX_BODY, make_app
from hyper.core.model import Host
from hyper.drivers import Driver
from hyper.images import ImageCache
from hyper.ledger import FileLedger, LedgerError
from hyper.lock import AlreadyRunning, hold
from hyper.ports.listeners import Listeners
from hyper.purge import purge
from hyper.runner import Runner
from hyper.workers import Workers
from manifests.kinds.image import MachineType
from manifests.kinds.node import PublisherKind
from manifests.scalars import Memory
from manifests.tokens import TokenError, token_from

log = logging.getLogger("hyper")

HELP = """\
Runs the machines of one node. Told what to run by iaas-reconciler; keeps it running while that is
away. Ending this program, or starting it again, leaves every machine as it is.

example:
  hyper --listen 127.0.0.1:7701 --state /var/lib/iaas/hyper
  iaasctl apply -f - <<< '{apiVersion: iaas/v1, kind: Node, metadata: {name: n1},
                           spec: {address: "127.0.0.1:7701"}}'
"""


def main() -> None:
    options = parse()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
        with hold(options.state):
            run(options)
    except (AlreadyRunning, LedgerError, TokenError, OSError) as error:
        sys.exit(f"hyper: {error}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hyper", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--listen", type=_address, default="127.0.0.1:7701", metavar="ADDR:PORT", help="%(default)s"
    )
    parser.add_argument(
        "--state",
        type=lambda text: Path(text).resolve(),
        default="/var/lib/iaas/hyper",
        metavar="DIR",
        help="%(default)s",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        default="/var/lib/iaas/agent.token",
        metavar="FILE",
        help="the secret shared with the controller, made if there is none (%(default)s)",
    )
    parser.add_argument(
        "--drivers",
        type=_drivers,
        default=",".join(MachineType),
        metavar="LIST",
        help="engines to use (%(default)s)",
    )
    parser.add_argument(
        "--image-cache",
        type=_size,
        metavar="SIZE",
        help="images that no machine needs are kept until all are larger than this, such as 50Gi"
        " (20Gi, or half of the disk of --state where that is less)",
    )
    parser.add_argument(
        "--purge",
        action="store_true",
        help="remove every machine, disk, image and port of this agent from the host, then end",
    )
    return parser.parse_args()


def _address(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    if not address or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDR:PORT")
    if address not in ("127.0.0.1", "localhost", "[::1]"):
        raise argparse.ArgumentTypeError("only loopback addresses until TLS is set up")
    return address.strip("[]"), int(port)


def _size(text: str) -> int:
    """In bytes."""
    try:
        return Memory.from_json(text) << 20
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 500Mi or 50Gi") from None


def _drivers(text: str) -> tuple[MachineType, ...]:
    try:
        return tuple(MachineType(name) for name in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"choose from {', '.join(MachineType)}") from None


def run(options: argparse.Namespace) -> None:
    ledger = FileLedger(options.state / "ledger.json")
    types = tuple(MachineType) if options.purge else options.drivers
    drivers, traits = engines.load(types, options.state)
    images = ImageCache(options.state / "images", options.image_cache)
    if options.purge:
        missing = {type_: it.missing for type_, it in traits.items() if it.missing}
        assignment = ledger.entry.assignment
        owner = engines.owner(assignment.cluster, options.state) if assignment else ""
        kernel = engines.publisher(options.state)
        purge(ledger, drivers, missing, kernel, owner, options.state)
        return
    token = token_from(options.token_file)
    me = Host(
        boot=secrets.token_hex(8), cpus=host.cpus(), memory=host.memory(), version=program_version()
    )
    agent = Agent(ledger=ledger, engines=traits, host=me, stock=images.stock())

    def choose() -> PublisherKind:
        return agent.assignment.publisher if agent.assignment else PublisherKind.NFTABLES

    workers = Workers(
        drivers=drivers,
        images=images,
        publisher=engines.publisher(options.state, choose)
        if MachineType.LIBVIRT in drivers
        else None,
        assignment=lambda: agent.assignment,
    )
    runner = Runner(
        agent,
        workers,
        bind=lambda cluster: bind(drivers, engines.owner(cluster, options.state), runner),
    )
    images.tell = runner.progress

    listeners = Listeners()
    listeners.watch(runner.hear)

    def end() -> None:
        images.closing.set()
        runner.stop()

    serve(runner, make_app(runner.exchange, token), options.listen, end)
    listeners.close()
    for driver in drivers.values():
        driver.close()
    if runner.restart:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def program_version() -> str:
    try:
        return version("iaasctl")
    except PackageNotFoundError:
        return "unknown"


def bind(drivers: dict[MachineType, Driver], owner: str, runner: Runner) -> None:
    for type_, driver in drivers.items():
        driver.bind(owner)
        driver.watch(partial(runner.notify, type_))


def serve(runner: Runner, app: Any, listen: tuple[str, int], end: Callable[[], None]) -> None:
    """Serve until a signal calls `end`; first the socket, so that "ready" is true when printed."""
    from cheroot import wsgi

    # Whoever has no token must not get far: short patience, small headers, threads to spare.
    server = wsgi.Server(listen, app, numthreads=32, server_name="hyper", timeout=3)
    server.max_request_header_size, server.max_request_body_size = 16 * 1024, MAX_BODY
    try:
        server.prepare()
    except OSError:
        raise OSError(f"cannot listen on {listen[0]}:{listen[1]}: is it in use already?") from None
    web = threading.Thread(target=server.serve, name="web", daemon=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=end).start())
    web.start()
    host_, port = server.bind_addr[:2]
    print(f"ready http://{host_}:{port}", flush=True)
    runner.run()
    server.stop()
