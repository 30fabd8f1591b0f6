"""The drivers this agent has: one table. An SDK that is not installed costs only its own engine."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hyper.core.model import Traits
from hyper.drivers import Driver
from hyper.ports import Publisher
from manifests.kinds.image import MachineType
from manifests.kinds.node import PublisherKind


def ident(state: Path) -> str:
    """A short name for what this agent keeps on the host (bridge, table): its state directory's."""
    return hashlib.sha256(str(state.absolute()).encode()).hexdigest()[:6]


def owner(cluster: str, state: Path) -> str:
    """What everything of this agent is labelled with: another agent of the same cluster may share
    the host's engines, and must not take our machines for its own."""
    return f"{cluster}/{ident(state)}"


def _docker(state: Path) -> Driver:
    from hyper.drivers.docker import Docker

    return Docker()


def _libvirt(state: Path) -> Driver:
    from hyper.drivers.libvirt import Libvirt

    return Libvirt(ident(state), state / "disks")


@dataclass(frozen=True, slots=True)
class Engine:
    """How a driver is made, what the agent must know of it, and how its SDK is had on Debian."""

    make: Callable[[Path], Driver]
    traits: Traits
    package: str


DRIVERS: dict[MachineType, Engine] = {
    MachineType.DOCKER: Engine(
        _docker, Traits(live=True, native_ports=True, proxy="docker-proxy"), "python3-docker"
    ),
    MachineType.LIBVIRT: Engine(
        _libvirt, Traits(live=False, native_ports=False, files=True), "python3-libvirt"
    ),
}


def load(
    types: tuple[MachineType, ...], state: Path
) -> tuple[dict[MachineType, Driver], dict[MachineType, Traits]]:
    """(the drivers that can be used, what the agent must know of all that were asked for)."""
    drivers, traits = {}, {}
    for type_ in types:
        engine = DRIVERS[type_]
        traits[type_] = engine.traits
        try:
            drivers[type_] = engine.make(state)
        except ImportError as error:
            missing = f"{error}; install it: apt-get install {engine.package}"
            traits[type_] = replace(engine.traits, missing=missing)
    return drivers, traits


def publisher(
    state: Path, choose: Callable[[], PublisherKind] = lambda: PublisherKind.NFTABLES
) -> Publisher:
    """That of VMs' ports; `choose` tells by which kind they shall be published now."""
    from hyper.ports.chosen import Chosen
    from hyper.ports.nftables import Nftables
    from hyper.ports.pwncat import Pwncat

    made: dict[PublisherKind, Publisher] = {
        PublisherKind.NFTABLES: Nftables(ident(state), f"viaas{ident(state)}"),
        PublisherKind.PWNCAT: Pwncat(),
    }
    # Rules outlive the agent, processes do not.
    return Chosen(made, choose, {PublisherKind.NFTABLES} if shutil.which("nft") else set())
