"""A plan in the making, and what several passes ask about a machine."""

from dataclasses import dataclass, field, replace

from manifests.change import Effect, FieldChange, machine_changes
from manifests.scalars import Uid
from reconciler.core.model import UNSEEN, NodeState, Object, Placed, Snapshot, Stage
from reconciler.core.plan import Operation, Retire, Wait
from reconciler.core.scheduling.room import Demand, Room
from reconciler.core.wiring import image_ref, machine_type


@dataclass(slots=True)
class Draft:
    """A plan in the making. `held` are the placements that no release has ended, `placed` one per
    machine as the plan will leave them; `late` tells where instances of gone ones appeared.

    `rooms` is what nodes have to hand out now, where what is leaving still takes its room; `future`
    is what they will have when all that is to be replaced has been."""

    snapshot: Snapshot
    held: tuple[Placed, ...] = ()
    operations: list[Operation] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    placed: dict[str, Placed] = field(default_factory=dict)
    rooms: dict[str, Room] = field(default_factory=dict)
    future: dict[str, Room] = field(default_factory=dict)
    machines: dict[str, Object] = field(default_factory=dict)
    late: dict[str, str] = field(default_factory=dict)

    def wait(self, item: Object, reason: str, stops: Uid | None = None) -> None:
        kind, name = item.manifest.kind, item.name
        self.waits.append(Wait(kind=kind, name=name, reason=reason, stops=stops))

    def silence(self, node: str) -> str:
        """What to add where something waits for this node: that it does not answer."""
        seen = self.snapshot.seen.get(node, UNSEEN)
        if seen.state is not NodeState.UNAVAILABLE:
            return ""
        return f", which does not answer: {seen.error}".removesuffix(": ")

    def retire(self, placed: Placed, reason: str) -> None:
        self.placed[placed.uid] = replace(placed, stage=Stage.LEAVING)
        self.operations.append(
            Retire(
                name=placed.wire.name,
                uid=placed.uid,
                epoch=placed.epoch,
                node=placed.node,
                reason=reason,
            )
        )


def demand_of(snapshot: Snapshot, machine: Object) -> Demand | None:
    """What the machine asks for; None while its image does not exist."""
    image = snapshot.get("Image", machine.machine.image)
    if image is None:
        return None
    return Demand.of(machine.machine, machine_type(machine, image), machine.name)


def changes_of(snapshot: Snapshot, machine: Object, placed: Placed) -> tuple[FieldChange, ...]:
    """How the machine differs from its placement, with what each difference means for it."""
    image = snapshot.get("Image", machine.machine.image)
    if placed.spec == machine.machine and image and image_ref(image) == placed.wire.image:
        return ()
    changes = tuple(
        _stays(change) if _holds_already(machine, image, placed, change.field) else change
        for change in machine_changes(placed.wire.type, placed.spec, machine.machine)
    )
    if image is None:
        return changes
    named = {change.field for change in changes}
    old, new = placed.wire.image.sha256, image_ref(image).sha256
    if "image" in named and old == new:
        return tuple(change for change in changes if change.field != "image")
    if "image" not in named and old != new:
        why = "the image has other bytes"
        return (*changes, FieldChange("image", old[:12], new[:12], Effect.REPLACE, why))
    return changes


def _holds_already(machine: Object, image: Object | None, placed: Placed, field_: str) -> bool:
    """Whether the placement is already as a field that fixes its place or engine now says."""
    if field_ == "node":
        return machine.machine.node in (None, placed.node)
    return field_ == "type" and (image is None or machine_type(machine, image) is placed.wire.type)


def _stays(change: FieldChange) -> FieldChange:
    return replace(change, effect=Effect.IN_PLACE, why="it is so already")
