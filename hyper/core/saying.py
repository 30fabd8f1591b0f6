"""What the agent says of its machines, as the report carries it."""

from dataclasses import replace

from hyper.core.model import Instance, Life
from manifests.scalars import Uid
from manifests.wire import MachineReport, Phase

LIFE_PHASES = {
    Life.RUNNING: Phase.RUNNING,
    Life.PAUSED: Phase.FAILED,
    Life.STOPPED: Phase.STOPPED,
}


def say(
    uid: Uid, epoch: int, phase: Phase, reason: str, it: Instance | None, restarts: int
) -> MachineReport:
    """`epoch` is of the placement, and counts only while no instance is there."""
    return MachineReport(
        uid=uid,
        epoch=it.epoch if it else epoch,
        phase=phase,
        reason=reason,
        instance=it.name if it else "",
        ip=it.ip if it else "",
        restarts=restarts,
        exit_code=it.exit_code if it and it.life is Life.STOPPED else None,
    )


def say_unassigned(it: Instance) -> MachineReport:
    """Ours by its label, but in no assignment: told, and left alone until its removal is ordered."""
    return say(it.uid, it.epoch, LIFE_PHASES[it.life], "in no assignment of this node", it, 0)


def since(new: MachineReport, old: MachineReport | None, wall: float) -> MachineReport:
    """`new` with the time of its last change of phase."""
    unchanged = old is not None and (old.epoch, old.phase) == (new.epoch, new.phase)
    return replace(new, since=old.since if old and unchanged else round(wall, 3))
