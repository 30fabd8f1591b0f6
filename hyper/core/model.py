"""What the agent knows of the engines on its node: instances, as the engines themselves tell it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from manifests.kinds.image import MachineType
from manifests.scalars import Cpus, Memory, Port, Uid
from manifests.wire import Foreign, ImageRef


class Life(StrEnum):
    """What an engine says of an instance. PAUSED: it exists, does not run, cannot be started."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A container or domain of ours (it carries our cluster's label), as seen just now.

    `handle` is the engine's own stable id for calls, `name` its name for people. `ran` tells
    whether it was ever started; `clean` whether it ended by itself and well (exit code 0, shutdown
    from inside). `ended` is a sentence for people. memory and cpus are the limits in force or,
    where the engine fixes them at start, those of its next start. `image` is the digest of the image
    it was made from, "" where that is unclear.
    """

    uid: Uid
    epoch: int
    type: MachineType
    handle: str
    name: str
    life: Life
    digest: str
    memory: Memory
    cpus: Cpus
    ran: bool = False
    clean: bool = False
    exit_code: int | None = None
    ended: str = ""
    ip: str = ""
    image: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """An image as the node has it. `held`: bytes, in the cache and in its engine; `ready`: machines
    can start from it."""

    type: MachineType
    image: ImageRef
    held: int
    ready: bool


@dataclass(frozen=True, slots=True)
class View:
    """One driver's full view of its engine. `error` set: the engine did not answer, nothing is known."""

    instances: tuple[Instance, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where a published port of the node leads: an address and port inside."""

    ip: str
    port: int


Publication = Mapping[Port, Target]
"""What the publisher shall publish. `Port.node` and `.protocol` are unique in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What the agent must know of an engine: does it change limits of a running instance, and
    publish ports itself, keep files of a machine that outlive its instance? `proxy` is the program
    that listens for what it publishes, of which it tells itself whose it is. `missing` says why it
    cannot be used at all, for example no SDK."""

    live: bool
    native_ports: bool
    files: bool = False
    proxy: str = ""
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What this agent is: `boot` is new at each start."""

    boot: str
    cpus: Cpus
    memory: Memory
    version: str
