"""What is true of an object now, in the words of the API: state, reason, and whether it is ready.

`running` is said only of what an agent observed running; what is not known is `unknown`.
"""

from dataclasses import dataclass
from enum import StrEnum

from manifests.kinds.machine import PowerState, RestartPolicy
from manifests.wire import MachineReport, Phase, Report
from reconciler.core.model import UNSEEN, NodeState, Object, Placed, Snapshot, Stage
from reconciler.core.onnodes import fetching
from reconciler.core.passes.draft import changes_of


class MachineState(StrEnum):
    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    UNKNOWN = "unknown"
    DELETING = "deleting"


STATES: dict[Phase, MachineState] = {
    Phase.PREPARING: MachineState.STARTING,
    Phase.CREATING: MachineState.STARTING,
    Phase.STARTING: MachineState.STARTING,
    Phase.RUNNING: MachineState.RUNNING,
    Phase.STOPPING: MachineState.STOPPING,
    Phase.STOPPED: MachineState.STOPPED,
    Phase.FAILED: MachineState.FAILED,
    Phase.REMOVING: MachineState.STOPPING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """`final`: it failed and nothing will be tried again by itself."""

    state: MachineState
    reason: str = ""
    ready: bool = False
    final: bool = False
    placed: Placed | None = None
    report: MachineReport | None = None


def machine_status(snapshot: Snapshot, machine: Object, placed: Placed | None) -> Status:
    """`placed` is the machine's placement that is not gone, None without one."""
    waiting = snapshot.waits.get(machine.key, "")
    if machine.deleting:
        return Status(state=MachineState.DELETING, reason=waiting, placed=placed)
    if placed is None or placed.stage is Stage.LEAVING:
        reason = waiting or "not placed yet"
        return Status(state=MachineState.PENDING, reason=reason, placed=placed)
    return _placed_status(snapshot, machine, placed, waiting)


def _placed_status(snapshot: Snapshot, machine: Object, placed: Placed, waiting: str) -> Status:
    report, unknown = trusted_report(snapshot, placed)
    if report is None:
        return Status(state=MachineState.UNKNOWN, reason=unknown, placed=placed)
    found = _entry(report, placed)
    if found is None:
        reason = f"{placed.node} has not taken it up yet"
        return Status(state=MachineState.STARTING, reason=reason, placed=placed)
    current = (
        report.generation >= placed.generation
        and placed.spec == machine.machine
        and not changes_of(snapshot, machine, placed)
    )
    state = STATES[found.phase]
    return Status(
        state=state,
        reason=waiting or fetching(report, placed, machine.machine.image) or found.reason,
        ready=current and not waiting and _as_wanted(placed, found),
        final=current and found.final and state is MachineState.FAILED,
        placed=placed,
        report=found,
    )


def trusted_report(snapshot: Snapshot, placed: Placed) -> tuple[Report | None, str]:
    """The report that speaks for this placement, or None and why there is none."""
    seen = snapshot.seen.get(placed.node, UNSEEN)
    if seen.state is NodeState.UNAVAILABLE:
        return None, f"{placed.node} does not answer: {seen.error}"
    if seen.report is None:
        return None, f"{placed.node} has not reported yet"
    for driver in seen.report.drivers:
        if driver.type is placed.wire.type:
            return (seen.report, "") if driver.ok else (None, f"{placed.node}: {driver.detail}")
    return None, f"{placed.node} has no {placed.wire.type}"


def _entry(report: Report, placed: Placed) -> MachineReport | None:
    for machine in report.machines:
        if machine.uid == placed.uid and machine.epoch == placed.epoch:
            return machine
    return None


def _as_wanted(placed: Placed, found: MachineReport) -> bool:
    if placed.wire.state is PowerState.STOPPED:
        return found.phase is Phase.STOPPED
    # A machine that ended as its restart policy allows is what was asked for.
    return found.phase is Phase.RUNNING or (
        found.phase is Phase.STOPPED and placed.wire.restart is not RestartPolicy.ALWAYS
    )


def node_status(snapshot: Snapshot, node: Object) -> tuple[str, str]:
    """(state, reason) of a node."""
    if node.deleting:
        return "removing", snapshot.waits.get(node.key, "")
    seen = snapshot.seen.get(node.name, UNSEEN)
    return str(seen.state), seen.error
