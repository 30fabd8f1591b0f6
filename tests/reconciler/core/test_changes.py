"""What a changed field means: the table is complete, and the table of the brief is what it says."""

from dataclasses import fields
from typing import Any

import pytest

from manifests.change import EFFECTS, Effect, instance_digest, machine_changes, strongest
from manifests.kinds.image import MachineType
from manifests.kinds.machine import MachineSpec
from manifests.scalars import Memory
from reconciler.core.passes.draft import changes_of
from reconciler.core.wiring import placement_for
from tests.scenarios.given import image, machine, snapshot

CHANGES: dict[str, dict[str, Any]] = {
    "image": {"image": "other"},
    "type": {"type": "docker"},
    "memory": {"memory": "1Gi"},
    "cpus": {"cpus": 2},
    "state": {"state": "stopped"},
    "node": {"node": "n2"},
    "ports": {"ports": ["80:80"]},
    "env": {"env": {"A": "1"}},
    "command": {"command": ["run"]},
    "restart": {"restart": {"policy": "never"}},
    "on_node_failure": {"onNodeFailure": "wait"},
}


@pytest.mark.parametrize("type_", MachineType)
def test_every_field_of_a_machine_is_in_the_table(type_: MachineType) -> None:
    assert list(EFFECTS[type_]) == [field.name for field in fields(MachineSpec)]
    assert EFFECTS[type_].keys() == CHANGES.keys()
    assert all(why for _, why in EFFECTS[type_].values())


@pytest.mark.parametrize("type_", MachineType)
@pytest.mark.parametrize("field", CHANGES)
def test_a_change_has_the_effect_of_its_field(type_: MachineType, field: str) -> None:
    old, new = machine("web").machine, machine("web", **CHANGES[field]).machine
    (change,) = machine_changes(type_, old, new)
    assert (change.effect, change.why) == EFFECTS[type_][field]
    assert change.field == next(iter(CHANGES[field]))


def test_the_strongest_effect_of_all() -> None:
    spec = machine("web").machine
    both = machine("web", memory="1Gi", env={"A": "1"}).machine
    assert strongest(()) is None
    assert strongest(machine_changes(MachineType.LIBVIRT, spec, spec)) is None
    assert strongest(machine_changes(MachineType.DOCKER, spec, both)) is Effect.REPLACE
    bigger = machine("web", memory=str(Memory(512))).machine
    assert strongest(machine_changes(MachineType.LIBVIRT, spec, bigger)) is Effect.RESTART


@pytest.mark.parametrize("type_", MachineType)
def test_the_digest_covers_what_replaces_and_nothing_else(type_: MachineType) -> None:
    first = {"image": "a" * 64, "ports": (), "env": {}, "command": ()}
    for field, value in {
        "image": "b" * 64,
        "ports": machine("web", ports=["80:80"]).machine.ports,
        "env": {"A": "1"},
        "command": ("run",),
    }.items():
        replaces = EFFECTS[type_][field][0] is Effect.REPLACE
        other = instance_digest(type_, {**first, field: value})
        assert (other != instance_digest(type_, first)) is replaces


def test_the_digest_of_a_placement_is_of_its_image_not_of_its_name() -> None:
    item = machine("web")
    same = placement_for(item, image("copy", bytes="app"), 2)
    assert placement_for(item, image("app"), 1).digest == same.digest
    assert placement_for(item, image("app", bytes="new"), 1).digest != same.digest


@pytest.mark.parametrize(
    ("now", "was", "effect"),
    [
        ({"node": "n1"}, {"node": None}, Effect.IN_PLACE),
        ({}, {"node": "n1"}, Effect.IN_PLACE),
        ({"node": "n2"}, {"node": None}, Effect.REPLACE),
        ({"type": "docker"}, {"type": None}, Effect.IN_PLACE),
        ({}, {"type": "docker"}, Effect.IN_PLACE),
    ],
)
def test_what_is_so_already_replaces_nothing(
    now: dict[str, Any], was: dict[str, Any], effect: Effect
) -> None:
    placements = {"web@1": {"node": "n1", "was": was}}
    before = snapshot({"machines": {"web": now}, "placements": placements})
    (change,) = changes_of(before, before.objects["Machine", "web"], before.placements[0])
    assert change.effect is effect
