"""--wait: when it ends, with which exit code, and what it says. No clock but the one given."""

from pathlib import Path
from typing import Any

import pytest

from iaasctl import waiting
from iaasctl.settle import Status, Target, in_vain, judge
from tests.iaasctl.conftest import Run
from tests.iaasctl.scripted import Server, line, machine, node

WEB1 = Target(kind="Machine", name="web1")


def states(server: Server, *machines: dict[str, Any]) -> None:
    """The first is there at once, each other after one change."""
    server.lists["machines"] = [machines[0]]
    server.steps = [
        lambda item=item: server.lists.update(machines=[item] if item else [])
        for item in machines[1:]
    ]


def test_ready_is_exit_0_with_a_table_and_a_line_for_each_change(
    run: Run, server: Server, manifest: Path
) -> None:
    server.lines = [line("create", "Machine", "web1")]
    states(server, machine("web1", "pending"), machine("web1", "starting"), machine("web1"))
    ran = run("apply", "-f", str(manifest), "--wait")
    assert ran.code == 0
    assert ran.err.splitlines() == [
        "machine/web1 pending",
        "machine/web1 starting on n1",
        "machine/web1 running on n1",
    ]
    assert ran.out.splitlines()[:2] == ["+ create machine web1", "1 to create"]
    assert ran.out.splitlines()[-1].startswith("web1  running")


def test_a_machine_that_gave_up_is_exit_1_with_its_reason(
    run: Run, server: Server, manifest: Path
) -> None:
    states(
        server,
        machine("web1", "starting"),
        machine("web1", "failed", reason="exit code 3", final=True),
    )
    ran = run("apply", "-f", str(manifest), "--wait")
    assert ran.code == 1
    assert "error: machine/web1 is not as wanted" in ran.err
    assert "machine/web1: exit code 3; it is not started again by itself" in ran.err


def test_a_machine_that_is_restarted_is_waited_for(
    run: Run, server: Server, manifest: Path
) -> None:
    states(server, machine("web1", "failed", reason="exit code 1"), machine("web1"))
    assert run("apply", "-f", str(manifest), "--wait").code == 0


def test_time_out_is_exit_3(run: Run, server: Server, manifest: Path) -> None:
    states(server, machine("web1", "starting", reason="fetching the image"))
    ran = run("apply", "-f", str(manifest), "--wait", "--timeout", "0s")
    assert ran.code == 3
    assert "machine/web1 is starting: fetching the image" in ran.err
    assert "goes on" in ran.err


def test_delete_waits_until_it_is_gone(run: Run, server: Server) -> None:
    server.lines = [line("delete", "Machine", "web1")]
    states(server, machine("web1", "deleting"), {})
    ran = run("delete", "vm", "web1", "--wait")
    assert (ran.code, ran.err) == (0, "machine/web1 deleting\nmachine/web1 gone\n")


def test_nodes_and_machines_of_a_set_are_both_waited_for(
    run: Run, server: Server, manifest: Path
) -> None:
    manifest.write_text(
        f"{manifest.read_text()}---\n{manifest.read_text()}".replace(
            "kind: Machine", "kind: Node", 1
        )
        .replace("web1", "n1", 1)
        .replace("{image: web}", '{address: "127.0.0.1:7701"}', 1)
    )
    server.lists |= {"nodes": [node("n1", "joining")], "machines": [machine("web1", "pending")]}
    server.steps = [
        lambda: server.lists.update(machines=[machine("web1")]),
        lambda: server.lists.update(nodes=[node()]),
    ]
    ran = run("apply", "-f", str(manifest), "--wait")
    assert (ran.code, ran.err.splitlines()[-1]) == (0, "node/n1 ready")


def test_somebody_else_deletes_it_meanwhile(run: Run, server: Server, manifest: Path) -> None:
    states(server, machine("web1", "starting"), {})
    ran = run("apply", "-f", str(manifest), "--wait")
    assert (ran.code, "somebody else deleted it" in ran.err) == (1, True)


def test_a_lost_server_says_that_the_set_was_applied(
    run: Run, server: Server, manifest: Path
) -> None:
    server.lines = [line("create", "Machine", "web1")]
    server.fail["/iaas/machines"] = (500, {"error": "internal", "message": "oops"})
    ran = run("apply", "-f", str(manifest), "--wait")
    assert ran.code == 1
    assert "applied: 1 to create; only the waiting ended" in ran.err


def test_ctrl_c_while_waiting_says_what_was_applied(
    run: Run, server: Server, manifest: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    states(server, machine("web1", "starting"))
    server.steps = [interrupt]
    server.lines = [line("create", "Machine", "web1")]
    ran = run("apply", "-f", str(manifest), "--wait")
    assert ran.code == 130
    assert "why:  applied: 1 to create; the cluster goes on converging" in ran.err


def test_a_machine_without_a_place_fails_once_nothing_moves(
    run: Run, server: Server, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "GRACE", 0.0)
    states(server, machine("web1", "pending", reason="n1: 512 MiB too little"))
    server.lists["nodes"] = [node()]
    ran = run("apply", "-f", str(manifest), "--wait")
    assert ran.code == 1
    assert "machine/web1: cannot be placed: n1: 512 MiB too little" in ran.err


def test_a_change_that_the_node_has_no_room_for_is_a_failure_too(
    run: Run, server: Server, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "GRACE", 0.0)
    states(server, machine("web1", ready=False, reason="cannot change memory: n1 lacks 512 MiB"))
    ran = run("apply", "-f", str(manifest), "--wait")
    assert (ran.code, "web1: cannot change memory: n1 lacks 512 MiB" in ran.err) == (1, True)


def test_a_machine_that_waits_for_its_former_self_is_not_stuck() -> None:
    reason = "waits until n1 confirms that its old instance is gone"
    (status,) = judge([WEB1], {"machines": [machine("web1", "pending", reason=reason)]})
    assert not status.stuck


@pytest.mark.parametrize(
    "world",
    [
        {"machines": [machine("old", "deleting")]},
        {"machines": [], "nodes": [node("n1", "joining")]},
    ],
)
def test_it_does_not_fail_while_something_moves_that_may_help(world: dict[str, Any]) -> None:
    world = {
        **world,
        "machines": [*world["machines"], machine("web1", "pending", reason="no room")],
    }
    statuses = judge([WEB1], world)
    assert statuses[0].stuck
    assert in_vain(statuses, world) == statuses


@pytest.mark.parametrize(
    ("item", "done", "failed"),
    [
        (machine("web1"), True, False),
        (machine("web1", "running", ready=False), False, False),
        (machine("web1", "failed", final=True), False, True),
        (machine("web1", "failed", final=False), False, False),
        (machine("web1", "stopped", ready=True, spec={"state": "stopped"}), True, False),
        (machine("web1", "stopping", ready=False, spec={"state": "stopped"}), False, False),
        (machine("web1", "unknown", spec=None, reason=None), False, False),
        ({"name": "web1", "spec": {"restart": 7}, "ready": "yes"}, False, False),
    ],
)
def test_what_settles_a_machine(item: dict[str, Any], done: bool, failed: bool) -> None:
    (status,) = judge([WEB1], {"machines": [item]})
    assert (status.done, status.failed) == (done, failed)


def test_texts_of_a_status_are_safe() -> None:
    evil = machine("web1", "x\x1b[2J", reason="\r\n", node="\x9b")
    (status,) = judge([WEB1], {"machines": [evil]})
    assert isinstance(status, Status)
    assert (status.state, status.detail, status.node) == ("x\\x1b[2J", "\\x0d\\x0a", "\\x9b")
