"""From desired machines to what their node is told: placements and assignments."""

from dataclasses import replace

from manifests.change import instance_digest
from manifests.kinds.image import MachineType
from manifests.scalars import Name, Sha256
from manifests.wire import Assignment, ImageRef, Placement, Tombstone
from reconciler.core.model import Object, Snapshot, Stage


def image_ref(image: Object) -> ImageRef:
    """The bytes of an Image; an applied one always has its digest."""
    spec = image.image
    return ImageRef(
        sha256=spec.digest or Sha256(),
        format=spec.resolved_format,
        size=image.size,
        repository=spec.registry.repository if spec.registry else "",
    )


def machine_type(machine: Object, image: Object) -> MachineType:
    return machine.machine.type or image.image.type


def placement_for(machine: Object, image: Object, epoch: int) -> Placement:
    """What a node is told of this machine, as desired now."""
    spec, type_, ref = machine.machine, machine_type(machine, image), image_ref(image)
    values = {
        "image": ref.sha256,
        "ports": spec.ports,
        "env": spec.env,
        "command": spec.command,
    }
    return Placement(
        uid=machine.uid,
        epoch=epoch,
        name=machine.name,
        type=type_,
        image=ref,
        memory=spec.memory,
        cpus=spec.cpus,
        digest=instance_digest(type_, values),
        state=spec.state,
        ports=spec.ports,
        env=spec.env,
        command=spec.command,
        restart=spec.restart.policy,
    )


def assignment_for(snapshot: Snapshot, node: Name, base: Assignment) -> Assignment:
    """Everything `node` shall run and remove; `base` has what is the same for every node."""
    here = [placed for placed in snapshot.placements if placed.node == node]
    item = snapshot.get("Node", node)
    return replace(
        base,
        node=node,
        generation=snapshot.generations.get(node, 0),
        publisher=item.node.publisher if item else base.publisher,
        run=tuple(placed.wire for placed in here if placed.stage is Stage.ACTIVE),
        leaving=tuple(
            Tombstone(placed.uid, placed.epoch, placed.wire.type)
            for placed in here
            if placed.stage is Stage.LEAVING
        ),
    )
