"""Every invariant is broken once by a plan made by hand, and named; the brake counts what stops."""

from typing import Any

import pytest

from manifests.scalars import Name
from reconciler.core.check import allowed, brake, check, stopped
from reconciler.core.model import Object, Snapshot
from reconciler.core.plan import Forget, Operation, Place, Plan, Release, Retire, Update
from reconciler.core.wiring import placement_for
from tests.scenarios.given import image, machine, snapshot, uid

PORT = {"ports": ["80:80"]}
APP = image("app")


def placing(item: Object, epoch: int, node: str = "n1") -> Place:
    wire = placement_for(item, APP, epoch)
    return Place(node=Name(node), spec=item.machine, wire=wire, reason="test")


def updating(item: Object, epoch: int, node: str = "n1") -> Update:
    wire = placement_for(item, APP, epoch)
    return Update(node=Name(node), spec=item.machine, wire=wire, reason="test")


def retiring(name: str, epoch: int, node: str = "n1") -> Retire:
    return Retire(name=Name(name), uid=uid(name), epoch=epoch, node=Name(node), reason="test")


def releasing(name: str, epoch: int, node: str = "n1") -> Release:
    return Release(name=Name(name), uid=uid(name), epoch=epoch, node=Name(node), reason="test")


def forgetting(kind: str, name: str) -> Forget:
    return Forget(kind=kind, name=Name(name), uid=uid(name), reason="test")


LEAVING = {"node": "n1", "stage": "leaving"}
WEB = machine("web")

BROKEN: dict[str, tuple[dict[str, Any], list[Operation], str]] = {
    "placed while it is placed": (
        {"machines": {"web": {}}, "placements": {"web@1": "n1"}},
        [placing(WEB, 2)],
        "web would be placed twice",
    ),
    "placed while it leaves": (
        {"machines": {"web": {}}, "placements": {"web@1": LEAVING}},
        [placing(WEB, 2, "n2")],
        "web would be placed twice",
    ),
    "placed while a late instance of it leaves": (
        {"machines": {"web": {}}, "placements": {"web@2": LEAVING, "web@1": LEAVING}},
        [releasing("web", 2), placing(WEB, 3)],
        "web would be placed twice",
    ),
    "placed before its bytes are here": (
        {"machines": {"web": {}}, "images": {"app": {"url": "https://x.org/a.tar", "size": 0}}},
        [placing(WEB, 1)],
        "web would be placed before the bytes of app are here",
    ),
    "placed twice in one plan": (
        {"machines": {"web": {}}},
        [placing(WEB, 1), placing(WEB, 2)],
        "web would be placed twice",
    ),
    "an epoch again that is gone": (
        {"machines": {"web": {}}, "gone": {"web@4": "n2"}},
        [placing(WEB, 4)],
        "epoch 4 of web is not new",
    ),
    "an epoch again that is just released": (
        {"machines": {"web": {}}, "placements": {"web@2": LEAVING}},
        [releasing("web", 2), placing(WEB, 2)],
        "epoch 2 of web is not new",
    ),
    "retired, but unknown": (
        {"machines": {"web": {}}},
        [retiring("web", 1)],
        "retire web@1 on n1: test: there is no such placement",
    ),
    "retired on another node": (
        {"machines": {"web": {}}, "placements": {"web@1": "n1"}},
        [retiring("web", 1, "n2")],
        "retire web@1 on n2: test: there is no such placement",
    ),
    "retired again": (
        {"machines": {"web": {}}, "placements": {"web@1": LEAVING}},
        [retiring("web", 1)],
        "retire web@1 on n1: test: its placement is leaving",
    ),
    "another epoch retired late than is gone": (
        {"gone": {"web@2": "n1"}},
        [retiring("web", 1)],
        "retire web@1 on n1: test: there is no such placement",
    ),
    "released while active": (
        {"machines": {"web": {}}, "placements": {"web@1": "n1"}},
        [releasing("web", 1)],
        "release web@1 on n1: test: its placement is active",
    ),
    "updated while it leaves": (
        {"machines": {"web": {}}, "placements": {"web@1": LEAVING}},
        [updating(WEB, 1)],
        "update web@1 on n1: test: its placement is leaving",
    ),
    "updated where it is not": (
        {"machines": {"web": {}}, "placements": {"web@1": "n1"}},
        [updating(WEB, 1, "n2")],
        "update web@1 on n2: test: there is no such placement",
    ),
    "a port that another has": (
        {"machines": {"old": PORT, "web": PORT}, "placements": {"old@1": "n1"}},
        [placing(machine("web", **PORT), 1)],
        "port 80/tcp on n1 would have two owners",
    ),
    "a port that leaves": (
        {"machines": {"old": PORT, "web": PORT}, "placements": {"old@1": LEAVING}},
        [placing(machine("web", **PORT), 1)],
        "port 80/tcp on n1 would have two owners",
    ),
    "a port for two at once": (
        {"machines": {"a": PORT, "b": PORT}},
        [placing(machine("a", **PORT), 1), placing(machine("b", **PORT), 1)],
        "port 80/tcp on n1 would have two owners",
    ),
    "a port by update": (
        {"machines": {"a": PORT, "b": {}}, "placements": {"a@1": "n1", "b@1": "n1"}},
        [updating(machine("b", **PORT), 1)],
        "port 80/tcp on n1 would have two owners",
    ),
    "forgotten, but placed": (
        {"machines": {"web": {"deleting": True}}, "placements": {"web@1": LEAVING}},
        [forgetting("Machine", "web")],
        "forget machine web: test: something of it is left",
    ),
    "forgotten, but not deleted": (
        {"images": {"app": {}}},
        [forgetting("Image", "app")],
        "forget image app: test: something of it is left",
    ),
}

SOUND: dict[str, tuple[dict[str, Any], list[Operation]]] = {
    "replaced in one pass": (
        {"machines": {"web": {}}, "placements": {"web@1": LEAVING}},
        [releasing("web", 1), placing(WEB, 2)],
    ),
    "a port changes hands": (
        {"machines": {"old": PORT, "web": PORT}, "placements": {"old@1": LEAVING}},
        [releasing("old", 1), placing(machine("web", **PORT), 1)],
    ),
    "one port on two nodes, and two protocols": (
        {"nodes": {"n1": {}, "n2": {}}, "machines": {"a": PORT, "b": PORT, "c": {}}},
        [
            placing(machine("a", **PORT), 1),
            placing(machine("b", **PORT), 1, "n2"),
            placing(machine("c", ports=["80:80/udp"]), 1),
        ],
    ),
    "a late instance": ({"gone": {"web@2": "n1"}}, [retiring("web", 2)]),
    "two owners already, and a plan that has no part in it": (
        {
            "machines": {"a": PORT, "b": PORT, "c": {}},
            "placements": {"a@1": "n1", "b@1": LEAVING},
        },
        [placing(machine("c"), 1)],
    ),
    "forgotten as it is released": (
        {"machines": {"web": {"deleting": True}}, "placements": {"web@1": LEAVING}},
        [releasing("web", 1), forgetting("Machine", "web")],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_invariant_is_named(name: str) -> None:
    given, operations, message = BROKEN[name]
    assert check(snapshot(given), Plan(tuple(operations))) == (message,)


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_plan_breaks_none(name: str) -> None:
    given, operations = SOUND[name]
    assert check(snapshot(given), Plan(tuple(operations))) == ()


def fleet(running: int, stopped: int = 0) -> Snapshot:
    """As many machines, r0 ... and s0 ..., all placed."""
    machines = {f"r{number}": {} for number in range(running)}
    machines |= {f"s{number}": {"state": "stopped"} for number in range(stopped)}
    return snapshot({"machines": machines, "placements": {f"{name}@1": "n1" for name in machines}})


def retirement(*names: str) -> Plan:
    return Plan(tuple(retiring(name, 1) for name in names))


def some(count: int) -> list[str]:
    return [f"r{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("running", "may"), [(0, 3), (3, 3), (30, 3), (39, 3), (40, 4), (200, 20), (209, 20)]
)
def test_three_or_a_tenth_may_stop_unasked(running: int, may: int) -> None:
    before = fleet(running)
    assert allowed(before) == may
    assert brake(before, Plan(), retirement(*some(min(may, running)))) == ""
    if running > may:
        assert brake(before, Plan(), retirement(*some(may + 1))) == (
            f"this would stop, restart, replace or delete {may + 1} running machines,"
            f" more than {may} need your word"
        )


def test_what_would_stop_anyway_does_not_count() -> None:
    before = fleet(10)
    assert brake(before, retirement(*some(5)), retirement(*some(8))) == ""
    assert brake(before, retirement(*some(5)), retirement(*some(9))) != ""


def test_only_running_machines_count() -> None:
    before = fleet(2, stopped=9)
    assert brake(before, Plan(), retirement(*(f"s{number}" for number in range(9)))) == ""


def test_stopping_counts_and_other_updates_do_not() -> None:
    before = fleet(5)
    off = [updating(machine(name, state="stopped"), 1) for name in some(4)]
    bigger = [updating(machine(name, memory="1Gi"), 1) for name in some(4)]
    assert stopped(before, Plan(tuple(off))) == {uid(name) for name in some(4)}
    assert brake(before, Plan(), Plan(tuple(off))) != ""
    assert brake(before, Plan(), Plan(tuple(bigger))) == ""


def test_releasing_what_left_stops_nothing_more() -> None:
    machines: dict[str, Any] = {name: {} for name in some(9)}
    before = snapshot({"machines": machines, "placements": {f"{n}@1": LEAVING for n in machines}})
    assert stopped(before, Plan(tuple(releasing(name, 1) for name in machines))) == frozenset()
