"""What controller and agent say to one another: one exchange, both documents whole.

The controller sends an Assignment (what this node shall run) and gets a Report (what the agent
sees). Both are states, not orders: either may be lost, doubled or late, the next one makes up for
it. An agent refuses another cluster and a lower term, and ignores a lower generation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from manifests.kinds.image import ImageFormat, MachineType
from manifests.kinds.machine import PowerState, RestartPolicy
from manifests.kinds.node import PublisherKind
from manifests.scalars import Cpus, Memory, Name, Port, Protocol, Sha256, Uid

PROTOCOL = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """The bytes to start from: identity by digest, format declared, size in bytes.

    With `repository` the node's engine pulls them from that registry, by the same digest (its
    manifest's); the size is not known then.
    """

    sha256: Sha256
    format: ImageFormat
    size: int
    repository: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One attempt to run one machine on one node, with all that the agent needs to know of it.

    `digest` is `manifests.change.instance_digest`; `name` is for people only.
    """

    uid: Uid
    epoch: int
    name: Name
    type: MachineType
    image: ImageRef
    memory: Memory
    cpus: Cpus
    digest: str
    state: PowerState = PowerState.RUNNING
    ports: tuple[Port, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    restart: RestartPolicy = RestartPolicy.ALWAYS


@dataclass(frozen=True, slots=True, order=True)
class Tombstone:
    """The order to remove every instance of `uid` up to `epoch`, disk and all.

    `type` is the engine that ran it: only there can something be left of it.
    """

    uid: Uid
    epoch: int
    type: MachineType = MachineType.DOCKER


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Everything one node shall run and remove. `generation` grows with every change.

    `images_url` is where the agent fetches image bytes: GET images_url/SHA256 with `images_token`.
    """

    cluster: Uid
    term: int
    node: Name
    generation: int
    images_url: str = ""
    images_token: str = ""
    publisher: PublisherKind = PublisherKind.NFTABLES
    run: tuple[Placement, ...] = ()
    leaving: tuple[Tombstone, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request of the controller. Without `assignment` the agent keeps the one it has.

    The agent answers when its report is another than (`boot`, `revision`), or after `wait` seconds.
    """

    cluster: Uid
    term: int
    node: Name
    assignment: Assignment | None = None
    boot: str = ""
    revision: int = 0
    wait: float = 0
    protocol: int = PROTOCOL


class Phase(StrEnum):
    """What an agent says of one machine. Only RUNNING means observed running."""

    PREPARING = "preparing"
    CREATING = "creating"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    REMOVING = "removing"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineReport:
    """One machine on one node: an assigned placement, or an instance that still exists.

    `instance` is the engine's own name for it, empty while there is none. `reason` is a sentence.
    `since` is epoch seconds of the last change of phase; `restarts` counts restarts by the agent.
    `final`: it ended, and its restart policy leaves it so.
    """

    uid: Uid
    epoch: int
    phase: Phase
    reason: str = ""
    instance: str = ""
    ip: str = ""
    restarts: int = 0
    exit_code: int | None = None
    since: float = 0
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverReport:
    """One engine on the node. Where `ok` is false nothing is known of its machines."""

    type: MachineType
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A container or domain on the node that is not ours: reported, never touched.

    `ports` are those of the node that it has published, `NUMBER/PROTOCOL`.
    """

    type: MachineType
    name: str
    ports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A program of the node, not a machine of ours, that has a port. `process`: its name, if known."""

    protocol: Protocol
    port: int
    process: str = ""


class ImagePhase(StrEnum):
    FETCHING = "fetching"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReport:
    """One image on the node. `done` of `size` bytes are here; `reason` is a sentence."""

    sha256: Sha256
    phase: ImagePhase
    done: int = 0
    size: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an agent sees. `generation` is the assignment it works on, durable on its disk, `publisher`
    the one that it names.

    (`boot`, `revision`) tells two reports apart: `boot` is new at each start of the agent.
    cpus and memory are what the host has to hand out.
    """

    node: Name
    boot: str
    revision: int
    generation: int
    cpus: Cpus
    memory: Memory
    version: str = ""
    drivers: tuple[DriverReport, ...] = ()
    machines: tuple[MachineReport, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    listeners: tuple[Listener, ...] = ()
    publisher: PublisherKind = PublisherKind.NFTABLES
    images: tuple[ImageReport, ...] = ()
