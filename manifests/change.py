"""What changing a field of a Machine means for the running machine: one table, with the reason.

The controller reads it to plan, the agent to tell drift from a new instance: REPLACE fields are in
the instance's digest, the others are compared with what the engine itself reports.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from manifests.codec import camel, dump
from manifests.digest import digest
from manifests.kinds.image import MachineType
from manifests.kinds.machine import MachineSpec


class Effect(StrEnum):
    """How a change reaches a running machine, mildest first."""

    IN_PLACE = "in place"
    RESTART = "restart"
    REPLACE = "replace"


ORDER = tuple(Effect)
POLICY_ONLY = (Effect.IN_PLACE, "read at the next decision")
MOVES = (Effect.REPLACE, "a machine is not moved, it is made anew")

EFFECTS: dict[MachineType, dict[str, tuple[Effect, str]]] = {
    MachineType.DOCKER: {
        "image": (Effect.REPLACE, "a container's image is fixed when it is created"),
        "type": (Effect.REPLACE, "another engine"),
        "memory": (Effect.IN_PLACE, "the engine changes limits of a running container"),
        "cpus": (Effect.IN_PLACE, "the engine changes limits of a running container"),
        "state": (Effect.IN_PLACE, "started or stopped"),
        "node": MOVES,
        "ports": (Effect.REPLACE, "a container's ports are fixed when it is created"),
        "env": (Effect.REPLACE, "a container's environment is fixed when it is created"),
        "command": (Effect.REPLACE, "a container's command is fixed when it is created"),
        "restart": POLICY_ONLY,
        "on_node_failure": POLICY_ONLY,
    },
    MachineType.LIBVIRT: {
        "image": (Effect.REPLACE, "another disk; the present disk is deleted"),
        "type": (Effect.REPLACE, "another engine; the present disk is deleted"),
        "memory": (Effect.RESTART, "the disk stays; the guest boots with the new size"),
        "cpus": (Effect.RESTART, "the disk stays; the guest boots with the new number"),
        "state": (Effect.IN_PLACE, "started or stopped"),
        "node": (Effect.REPLACE, "a machine is not moved; the present disk is deleted"),
        "ports": (Effect.IN_PLACE, "the node publishes them, not the guest"),
        "env": (Effect.REPLACE, "docker only"),
        "command": (Effect.REPLACE, "docker only"),
        "restart": POLICY_ONLY,
        "on_node_failure": POLICY_ONLY,
    },
}


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One changed field, by its JSON name, old and new as plain data.

    `effect` is None where nothing runs that it could have an effect on.
    """

    field: str
    old: Any
    new: Any
    effect: Effect | None = None
    why: str = ""


def machine_changes(
    type_: MachineType, old: MachineSpec, new: MachineSpec
) -> tuple[FieldChange, ...]:
    """The changed fields of a machine that runs as `type_`, in the order of the kind."""
    return tuple(
        FieldChange(camel(name), dump(before), dump(after), *EFFECTS[type_][name])
        for name in (item.name for item in fields(MachineSpec))
        if (before := getattr(old, name)) != (after := getattr(new, name))
    )


def strongest(changes: tuple[FieldChange, ...]) -> Effect | None:
    """The effect of all changes together; None without any."""
    effects = [change.effect for change in changes if change.effect]
    return max(effects, key=ORDER.index, default=None)


def instance_digest(type_: MachineType, values: Mapping[str, Any]) -> str:
    """Digest of what makes an instance another instance: the REPLACE fields that the engine holds.

    `values` maps field names of MachineSpec to values, `image` to the sha256 of its bytes. The node
    is left out: an instance is on the node where it is.
    """
    engine = sorted(
        name
        for name, (effect, _) in EFFECTS[type_].items()
        if effect is Effect.REPLACE and name not in ("node", "type")
    )
    return digest({"type": type_} | {name: values[name] for name in engine})
