"""What the agent says of its machines, as the report carries it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from hyper.core.model import Instance, Life, Traits
from hyper.core.views import Engine
from manifests.kinds.image import MachineType
from manifests.scalars import Uid
from manifests.wire import (
    Assignment,
    DriverReport,
    Foreign,
    ImageReport,
    Listener,
    MachineReport,
    Phase,
    Placement,
    Report,
)

DAEMONS = ("dockerd",)
"""Engines that listen themselves for what they publish, where their proxies are switched off."""
LIFE_PHASES = {
    Life.RUNNING: Phase.RUNNING,
    Life.PAUSED: Phase.FAILED,
    Life.STOPPED: Phase.STOPPED,
}


def say(
    uid: Uid,
    epoch: int,
    phase: Phase,
    reason: str,
    it: Instance | None,
    restarts: int,
    *,
    final: bool = False,
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
        final=final,
        exit_code=it.exit_code if it and it.life is Life.STOPPED else None,
    )


def say_unassigned(it: Instance) -> MachineReport:
    """Ours by its label, but in no assignment: told, and left alone until its removal is ordered."""
    return say(it.uid, it.epoch, LIFE_PHASES[it.life], "in no assignment of this node", it, 0)


def since(
    machines: tuple[MachineReport, ...], before: Report, wall: float
) -> tuple[MachineReport, ...]:
    """The machines, each with the time of its last change of phase."""
    known = {(old.uid, old.epoch, old.phase): old.since for old in before.machines}
    now = round(wall, 3)
    return tuple(replace(it, since=known.get((it.uid, it.epoch, it.phase), now)) for it in machines)


def say_engine(type_: MachineType, missing: str, engine: Engine | None) -> DriverReport:
    """`missing` says why the engine cannot be used at all."""
    if engine is None:
        return DriverReport(type=type_, ok=False, detail=missing)
    return DriverReport(type=type_, ok=engine.known, detail=engine.error)


def programs(
    listeners: tuple[Listener, ...], traits: Mapping[MachineType, Traits], run: Iterable[Placement]
) -> tuple[Listener, ...]:
    """The listeners that are neither an engine's, which tells itself whose ports those are, nor of a
    machine that is to run here (where the engine itself listens for it)."""
    proxies = {engine.proxy for engine in traits.values() if not engine.missing}
    native = {type_ for type_, engine in traits.items() if engine.native_ports}
    ours = {(p.protocol, p.node) for item in run if item.type in native for p in item.ports}
    return tuple(
        it
        for it in listeners
        if it.process not in proxies
        and not (it.process in DAEMONS and (it.protocol, it.port) in ours)
    )


def told(
    before: Report,
    assignment: Assignment | None,
    drivers: tuple[DriverReport, ...],
    machines: tuple[MachineReport, ...],
    foreign: tuple[Foreign, ...],
    listeners: tuple[Listener, ...],
    images: tuple[ImageReport, ...],
) -> Report:
    """The report now: the very one before where nothing is new in it, else of a new revision."""
    new = replace(
        before,
        node=assignment.node if assignment else before.node,
        generation=assignment.generation if assignment else 0,
        drivers=drivers,
        machines=machines,
        foreign=foreign,
        listeners=listeners,
        publisher=assignment.publisher if assignment else before.publisher,
        images=images,
    )
    return before if new == before else replace(new, revision=before.revision + 1)
