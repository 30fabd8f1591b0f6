"""What is said of machines and nodes: only what somebody saw, and why where it is not as wanted."""

from dataclasses import replace
from typing import Any

import pytest

from manifests.scalars import Sha256
from manifests.wire import ImagePhase, ImageReport, Report
from reconciler.core.model import NodeState, Seen, Snapshot
from reconciler.core.status import MachineState, Status, machine_status, node_status
from reconciler.core.view import view, views
from tests.scenarios.given import snapshot


def status(before: Snapshot, name: str = "web") -> Status:
    item = before.objects["Machine", name]
    placed = {placed.uid: placed for placed in before.placements}
    return machine_status(before, item, placed.get(item.uid))


def one(**node: Any) -> Snapshot:
    """A cluster with the machine web on the node n1, which is as told."""
    given = {"nodes": {"n1": node}, "machines": {"web": {}}, "placements": {"web@1": "n1"}}
    return snapshot(given)


@pytest.mark.parametrize(
    ("phase", "state", "ready"),
    [
        ("preparing", "starting", False),
        ("creating", "starting", False),
        ("starting", "starting", False),
        ("running", "running", True),
        ("stopping", "stopping", False),
        ("stopped", "stopped", False),
        ("failed", "failed", False),
        ("removing", "stopping", False),
    ],
)
def test_every_phase_of_a_machine_that_shall_run(phase: str, state: str, ready: bool) -> None:
    found = status(one(shows=[f"web@1 {phase}"]))
    assert (found.state, found.ready, found.final) == (state, ready, False)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ({"state": "unavailable", "error": "timeout"}, "n1 does not answer: timeout"),
        ({"silent": True}, "n1 has not reported yet"),
        ({"engines": {"docker": "dockerd is down"}}, "n1: dockerd is down"),
        ({"engines": {"libvirt": ""}}, "n1 has no docker"),
    ],
)
def test_unknown_is_not_running(node: dict[str, Any], reason: str) -> None:
    found = status(one(**node))
    assert (found.state, found.reason, found.ready) == (MachineState.UNKNOWN, reason, False)


def test_not_taken_up_yet() -> None:
    found = status(one(shows=[]))
    assert (found.state, found.reason) == ("starting", "n1 has not taken it up yet")


def test_an_instance_of_another_epoch_says_nothing_of_this_one() -> None:
    assert status(one(shows=["web@2"])).reason == "n1 has not taken it up yet"


def test_running_but_by_an_old_order_is_not_ready() -> None:
    given = {"machines": {"web": {}}, "placements": {"web@1": {"node": "n1", "since": 2}}}
    found = status(snapshot(given))
    assert (found.state, found.ready) == ("running", False)


def test_running_but_not_as_desired_now_is_not_ready() -> None:
    placements = {"web@1": {"node": "n1", "was": {"memory": "1Gi"}}}
    found = status(snapshot({"machines": {"web": {}}, "placements": placements}))
    assert (found.state, found.ready) == ("running", False)


def test_running_but_waiting_for_a_change_is_not_ready_and_says_why() -> None:
    before = replace(one(), waits={("Machine", "web"): "cannot change memory: n1 is full"})
    found = status(before)
    assert (found.state, found.reason, found.ready) == (
        "running",
        "cannot change memory: n1 is full",
        False,
    )


@pytest.mark.parametrize(
    ("spec", "phase", "ready"),
    [
        ({"state": "stopped"}, "stopped", True),
        ({"state": "stopped"}, "running", False),
        ({"restart": {"policy": "on-failure"}}, "stopped", True),
        ({"restart": {"policy": "never"}}, "stopped", True),
        ({"restart": {"policy": "never"}}, "failed", False),
    ],
)
def test_ready_is_what_was_asked_for(spec: dict[str, Any], phase: str, ready: bool) -> None:
    nodes = {"n1": {"shows": [f"web@1 {phase}"]}}
    given = {"nodes": nodes, "machines": {"web": spec}, "placements": {"web@1": "n1"}}
    assert status(snapshot(given)).ready is ready


def test_a_failure_is_final_where_nothing_will_be_tried_again() -> None:
    nodes = {"n1": {"shows": ["web@1 failed"]}}
    machines = {"web": {"restart": {"policy": "never"}}}
    before = snapshot({"nodes": nodes, "machines": machines, "placements": {"web@1": "n1"}})
    assert not status(before).final  # it failed to start, say, and is tried again
    report = before.seen["n1"].report
    assert report is not None
    ended = replace(report, machines=(replace(report.machines[0], final=True),))
    assert status(replace(before, seen={"n1": Seen(NodeState.READY, ended)})).final


def test_pending_with_the_reason_of_the_last_pass() -> None:
    before = snapshot({"machines": {"web": {}}})
    assert (status(before).state, status(before).reason) == ("pending", "not placed yet")
    waiting = replace(before, waits={("Machine", "web"): "no node fits: n1: has no docker"})
    assert status(waiting).reason == "no node fits: n1: has no docker"


def test_between_two_placements_it_is_pending() -> None:
    placements = {"web@1": {"node": "n1", "stage": "leaving"}}
    assert status(snapshot({"machines": {"web": {}}, "placements": placements})).state == "pending"


def test_deleting_whatever_is_seen() -> None:
    given = {"machines": {"web": {"deleting": True}}, "placements": {"web@1": "n1"}}
    waits = {("Machine", "web"): "is being deleted; waits until n1 confirms that it is gone"}
    found = status(replace(snapshot(given), waits=waits))
    assert (found.state, found.ready) == ("deleting", False)
    assert found.reason == waits["Machine", "web"]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({}, ("ready", "")),
        ({"silent": True, "error": "connection refused"}, ("joining", "connection refused")),
        ({"state": "unavailable", "error": "timeout"}, ("unavailable", "timeout")),
        ({"deleting": True}, ("removing", "")),
    ],
)
def test_nodes(node: dict[str, Any], expected: tuple[str, str]) -> None:
    before = one(**node)
    assert node_status(before, before.objects["Node", "n1"]) == expected


def test_the_view_of_a_machine() -> None:
    shown = view(one(), one().objects["Machine", "web"], secrets=True)
    assert shown["name"] == "web"
    assert (shown["node"], shown["type"], shown["state"]) == ("n1", "docker", "running")
    assert (shown["mem"], shown["cpus"], shown["ready"]) == (256, 1, True)


def test_the_view_of_a_machine_with_a_late_instance_elsewhere() -> None:
    placements = {"web@2": "n2", "web@1": {"node": "n1", "stage": "leaving"}}
    given = {"nodes": {"n1": {}, "n2": {}}, "machines": {"web": {}}, "placements": placements}
    (shown,) = views(snapshot(given), "Machine", secrets=True)
    assert (shown["node"], shown["state"]) == ("n2", "running")


def test_the_view_of_a_node_counts_what_is_placed_there() -> None:
    machines = {"a": {"memory": "1Gi", "cpus": 0.5}, "b": {"memory": "512Mi"}}
    given = {"machines": machines, "placements": {"a@1": "n1", "b@1": "n1"}}
    (shown,) = views(snapshot(given), "Node", secrets=True)
    assert shown["capacity"] == {"cpus": 16, "mem": 4096}
    assert (shown["used"], shown["machines"]) == ({"cpus": 1.5, "mem": 1536}, 2)
    assert shown["drivers"][0] == {"type": "docker", "ok": True, "detail": ""}


def test_the_view_of_an_image_names_its_users() -> None:
    shown = views(snapshot({"machines": {"b": {}, "a": {}}}), "Image", secrets=True)[0]
    assert (shown["machines"], shown["state"], shown["format"]) == (
        ["a", "b"],
        "ready",
        "docker-archive",
    )


def with_images(
    before: Snapshot, *images: ImageReport, state: NodeState = NodeState.READY
) -> Snapshot:
    report = replace(report_of(before), images=images)
    error = "" if state is NodeState.READY else "timeout"
    return replace(before, seen={"n1": Seen(state, report, error)})


def report_of(before: Snapshot) -> Report:
    report = before.seen["n1"].report
    assert report is not None
    return report


def of_web(before: Snapshot, phase: str, **more: Any) -> ImageReport:
    (placed,) = before.placements
    return ImageReport(sha256=placed.wire.image.sha256, phase=ImagePhase(phase), **more)


@pytest.mark.parametrize(
    ("phase", "image", "reason"),
    [
        ("preparing", {"phase": "fetching", "done": 43, "size": 99}, "fetching image web: 43 %"),
        ("preparing", {"phase": "fetching"}, "fetching image web"),
        ("preparing", {"phase": "ready"}, "said by the agent"),
        ("running", {"phase": "fetching", "done": 43, "size": 99}, "said by the agent"),
    ],
)
def test_a_machine_that_waits_for_its_image_says_how_much_has_come(
    phase: str, image: dict[str, Any], reason: str
) -> None:
    before = one(shows=[f"web@1 {phase}"])
    report = report_of(before)
    machines = tuple(replace(it, reason="said by the agent") for it in report.machines)
    before = replace(before, seen={"n1": Seen(NodeState.READY, replace(report, machines=machines))})
    name = before.objects["Machine", "web"].machine.image
    expected = reason.replace("image web", f"image {name}")
    assert status(with_images(before, of_web(before, **image))).reason == expected


def test_the_view_of_an_image_says_which_nodes_have_it() -> None:
    before = one()
    found = with_images(before, of_web(before, "fetching", done=3, size=10))
    assert views(found, "Image", secrets=True)[0]["nodes"] == [
        {"node": "n1", "state": "fetching", "done": 3, "size": 10, "reason": ""}
    ]
    other = replace(of_web(before, "ready"), sha256=Sha256("f" * 64))
    assert views(with_images(before, other), "Image", secrets=True)[0]["nodes"] == []


def test_what_a_silent_node_has_is_unknown() -> None:
    before = one()
    silent = with_images(before, of_web(before, "ready"), state=NodeState.UNAVAILABLE)
    (node,) = views(silent, "Image", secrets=True)[0]["nodes"]
    assert (node["state"], node["reason"]) == ("unknown", "timeout")
