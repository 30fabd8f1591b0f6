"""Plans: what a reconcile pass decided, as data. Every operation is one change in the store and
carries its reason; the text of a plan is stable, so that tests and people compare it."""

from dataclasses import dataclass

from manifests.kinds.machine import MachineSpec
from manifests.scalars import Name, Uid
from manifests.wire import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Start running a machine: a new placement, its ports claimed with it."""

    node: Name
    spec: MachineSpec
    wire: Placement
    reason: str

    def __str__(self) -> str:
        return f"place {self.wire.name}@{self.wire.epoch} on {self.node}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Change an active placement where it is. `restart`: the machine is restarted for it."""

    node: Name
    spec: MachineSpec
    wire: Placement
    reason: str
    restart: bool = False

    def __str__(self) -> str:
        return f"update {self.wire.name}@{self.wire.epoch} on {self.node}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """Order the node to remove a placement; ports and capacity stay taken until it confirms.

    `gone_on`: of an instance that appears late, the node on which its placement was gone; another
    than `node` where that host has been given a new name since.
    """

    name: Name
    uid: Uid
    epoch: int
    node: Name
    reason: str
    gone_on: Name | None = None

    def __str__(self) -> str:
        return f"retire {self.name}@{self.epoch} on {self.node}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The node confirmed that a retired placement is gone: free its ports and capacity."""

    name: Name
    uid: Uid
    epoch: int
    node: Name
    reason: str

    def __str__(self) -> str:
        return f"release {self.name}@{self.epoch} on {self.node}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Remove a deleted object from the store: nothing of it is left anywhere."""

    kind: str
    name: Name
    uid: Uid
    reason: str

    def __str__(self) -> str:
        return f"forget {self.kind.lower()} {self.name}: {self.reason}"


Operation = Place | Update | Retire | Release | Forget


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Something the plan would do but cannot yet, and why. Changes nothing.

    `stops` is the uid of a running machine that will be stopped as soon as it can be.
    """

    kind: str
    name: Name
    reason: str
    stops: Uid | None = None

    def __str__(self) -> str:
        return f"wait {self.kind.lower()} {self.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Plan:
    operations: tuple[Operation, ...] = ()
    waits: tuple[Wait, ...] = ()

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in (*self.operations, *self.waits))

    def __bool__(self) -> bool:
        return bool(self.operations)
