"""The immutable view of the cluster that every decision starts from.

Desired objects belong to the user, placements to the controller, reports to the agents: one writer
each. A node without a report is unknown, not empty.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from manifests.kinds import Manifest
from manifests.kinds.image import ImageSpec
from manifests.kinds.machine import MachineSpec
from manifests.kinds.node import NodeSpec
from manifests.scalars import Name, Uid
from manifests.wire import Placement, Report

Key = tuple[str, str]
"""(kind, name) of an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """One desired object. `deleting` is a tombstone: it goes once nothing of it is left.

    `generation` counts changes of its spec and labels; `size` is the bytes of an Image.
    `created` is epoch seconds.
    """

    uid: Uid
    source: str
    manifest: Manifest
    generation: int = 1
    deleting: bool = False
    created: float = 0
    size: int = 0

    @property
    def key(self) -> Key:
        return self.manifest.key

    @property
    def name(self) -> Name:
        return self.manifest.name

    @property
    def machine(self) -> MachineSpec:
        assert isinstance(self.manifest.spec, MachineSpec)
        return self.manifest.spec

    @property
    def node(self) -> NodeSpec:
        assert isinstance(self.manifest.spec, NodeSpec)
        return self.manifest.spec

    @property
    def image(self) -> ImageSpec:
        assert isinstance(self.manifest.spec, ImageSpec)
        return self.manifest.spec


class Stage(StrEnum):
    """Where a placement is in its life.

    ACTIVE: the node shall run it. LEAVING: the node shall remove it, and its port and capacity stay
    taken. GONE: the node confirmed; remembered so that an instance of it that appears late (a
    create call that ended after its caller died) is known for ours, and is made LEAVING again.
    """

    ACTIVE = "active"
    LEAVING = "leaving"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A placement as the controller keeps it. `spec` is the machine's spec it was last made from.

    `generation` is the node's assignment generation that last changed it: a report of an older one
    says nothing about it.
    """

    node: Name
    stage: Stage
    spec: MachineSpec
    wire: Placement
    generation: int

    @property
    def uid(self) -> Uid:
        return self.wire.uid

    @property
    def epoch(self) -> int:
        return self.wire.epoch


def newest(placements: Iterable[Placed]) -> dict[str, Placed]:
    """The placement of each machine, by uid. It has several only while a late instance of an
    earlier one is being removed; the newest is what counts."""
    found: dict[str, Placed] = {}
    for placed in placements:
        if placed.uid not in found or found[placed.uid].epoch < placed.epoch:
            found[placed.uid] = placed
    return found


class NodeState(StrEnum):
    """JOINING: no report since the controller started. UNAVAILABLE: silent beyond its lease."""

    JOINING = "joining"
    READY = "ready"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a node now: its last report, kept when it falls silent, and its state."""

    state: NodeState = NodeState.JOINING
    report: Report | None = None
    error: str = ""


UNSEEN = Seen()


class FetchState(StrEnum):
    FETCHING = "fetching"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Fetch:
    """An Image whose bytes are not here, or cannot be used. `reason` is how far it is, or why not."""

    state: FetchState
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything a decision may depend on. `revision` is the store's, for compare-and-set.

    `placements` are ACTIVE or LEAVING; `gone` has the highest epoch gone by (node, uid).
    `generations` has each node's assignment generation. `fetches` tells of images by uid whose bytes
    are missing; like `seen`, it is not in the store. `waits` tells what the last pass could not
    do yet, and why.
    """

    revision: int
    cluster: Uid
    objects: Mapping[Key, Object] = field(default_factory=dict)
    placements: tuple[Placed, ...] = ()
    gone: Mapping[tuple[str, str], int] = field(default_factory=dict)
    generations: Mapping[str, int] = field(default_factory=dict)
    seen: Mapping[str, Seen] = field(default_factory=dict)
    fetches: Mapping[str, Fetch] = field(default_factory=dict)
    waits: Mapping[Key, str] = field(default_factory=dict)

    def of_kind(self, kind: str) -> tuple[Object, ...]:
        """Objects of a kind in the order of their names."""
        return tuple(self.objects[key] for key in sorted(self.objects) if key[0] == kind)

    def get(self, kind: str, name: str) -> Object | None:
        return self.objects.get((kind, name))
