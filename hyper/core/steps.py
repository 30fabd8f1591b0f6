"""What the agent can do, as data: one step is one call of a driver, with its reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hyper.core.model import Instance, Publication, Stock, View
from hyper.core.room import Lack
from manifests.kinds.image import MachineType
from manifests.kinds.node import PublisherKind
from manifests.scalars import Port, Uid
from manifests.wire import ImageRef, Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Fetch and verify the bytes of an image and make them startable. Shared by all who wait."""

    type: MachineType
    image: ImageRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Drop an image that no machine needs."""

    type: MachineType
    image: ImageRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    uid: Uid
    type: MachineType
    placement: Placement
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """`restart`: it ran before and ended by itself."""

    uid: Uid
    type: MachineType
    handle: str
    reason: str
    restart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    uid: Uid
    type: MachineType
    handle: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    uid: Uid
    type: MachineType
    handle: str
    placement: Placement
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    uid: Uid
    type: MachineType
    handle: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Erase:
    """Remove what outlived its instance (hyper.drivers.Driver.erase)."""

    uid: Uid
    type: MachineType
    epoch: int
    reason: str = "removing what is left of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Make exactly these ports published, by this publisher."""

    wanted: Publication
    by: PublisherKind = PublisherKind.NFTABLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Observe one instance, what is not ours (hyper.core.looking.STRANGERS), or everything where
    `handle` is None."""

    type: MachineType
    handle: str | None = None


MachineStep = Create | Start | Stop | Update | Remove | Erase
MACHINE_STEPS = (Create, Start, Stop, Update, Remove, Erase)
Step = MachineStep | Prepare | Discard | Publish | Look


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a step. `error` is "" where it succeeded; `down`: the engine did not answer.

    `instance` is what a look after the step found at `handle`, None: gone; `view` is a full look's,
    or has only `foreign` where it was at strangers.
    `refused` has the ports that could not be published, and why. `ticket` orders looks (hyper.core.views).
    `stock` is what the node has of the image after the step; `lack`: there is no room for it; `short`:
    bytes of images that have to go, None where that was not measured.
    """

    ticket: int
    error: str = ""
    down: bool = False
    handle: str = ""
    instance: Instance | None = None
    view: View | None = None
    refused: Mapping[Port, str] = field(default_factory=dict)
    stock: Stock | None = None
    lack: Lack | None = None
    short: int | None = None


def key_of(step: Step) -> object:
    """What a step occupies: two steps with one key never run at the same time."""
    match step:
        case Publish():
            return "publish"
        case Prepare() | Discard():
            return "image", step.type, step.image.sha256
        case Look():
            return "look", step.type, step.handle
        case _:
            return str(step.uid)
