"""The agent's decision for one machine: (what is wanted, what is there) -> the next step.

One table. Waiting and leaving alone are entries in it, not absences. What a row needs beyond the
table (has the image come, is the wait over, does the restart policy allow it) is in its function.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from hyper.core.backoff import History
from hyper.core.model import Instance, Life
from hyper.core.steps import Create, Erase, MachineStep, Prepare, Remove, Start, Stop, Update
from manifests.kinds.machine import PowerState, RestartPolicy
from manifests.wire import Phase, Placement, Tombstone


class Wanted(Enum):
    RUNNING = auto()
    STOPPED = auto()


class Found(Enum):
    """What there is of a machine. STALE: of an earlier epoch, or not what we made. LATER: of a
    later epoch than we are told of. FRESH: made, never started. DRIFTED: other limits than wanted."""

    ABSENT = auto()
    STALE = auto()
    LATER = auto()
    FRESH = auto()
    RUNNING = auto()
    PAUSED = auto()
    ENDED = auto()
    DRIFTED_RUNNING = auto()
    DRIFTED_ENDED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that a decision about one machine depends on. `live`: its engine changes limits of a
    running instance. `halted`: we stopped it ourselves, so the restart policy has no say.
    `image_makes_room`: others are dropped for it first."""

    placement: Placement
    instance: Instance | None
    history: History
    halted: bool
    image_ready: bool
    image_trouble: History
    image_makes_room: bool
    live: bool
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The next step, or none; what to say of the machine meanwhile; when to look again.

    `final`: it stays so until something else is wanted."""

    phase: Phase
    step: MachineStep | Prepare | None = None
    reason: str = ""
    wake_at: float | None = None
    final: bool = False


def decide(case: Case) -> Decision:
    wanted = Wanted.RUNNING if case.placement.state is PowerState.RUNNING else Wanted.STOPPED
    return TRANSITIONS[wanted, found(case.placement, case.instance)](case)


def found(placement: Placement, instance: Instance | None) -> Found:
    if instance is None:
        return Found.ABSENT
    if instance.epoch > placement.epoch:
        return Found.LATER
    if instance.epoch < placement.epoch or instance.digest != placement.digest:
        return Found.STALE
    if instance.life is Life.PAUSED:
        return Found.PAUSED
    drifted = (instance.memory, instance.cpus) != (placement.memory, placement.cpus)
    if instance.life is Life.RUNNING:
        return Found.DRIFTED_RUNNING if drifted else Found.RUNNING
    if drifted:
        return Found.DRIFTED_ENDED
    return Found.ENDED if instance.ran else Found.FRESH


def bury(tombstone: Tombstone, instance: Instance, history: History, now: float) -> Decision | None:
    """The decision for an instance whose removal was ordered; None where the order is not for it."""
    if instance.epoch > tombstone.epoch:
        return None
    if now < history.retry_at:
        return _wait(history, "it could not be removed")
    return Decision(phase=Phase.REMOVING, step=_remove(instance, "deleted"))


def erase(tombstone: Tombstone, history: History, now: float) -> Decision:
    """No instance is left; a file of it may be, where somebody else removed the instance."""
    if now < history.retry_at:
        return _wait(history, "what is left of it could not be removed")
    step = Erase(uid=tombstone.uid, type=tombstone.type, epoch=tombstone.epoch)
    return Decision(phase=Phase.REMOVING, step=step, reason=step.reason)


def _remove(instance: Instance, reason: str) -> Remove:
    return Remove(uid=instance.uid, type=instance.type, handle=instance.handle, reason=reason)


def _there(case: Case) -> Instance:
    assert case.instance is not None
    return case.instance


def make(case: Case) -> Decision:
    """Nothing is there: fetch the image, then create."""
    placement = case.placement
    if case.now < case.history.retry_at:
        return waiting(case)
    if not case.image_ready and case.now < case.image_trouble.retry_at:
        return _wait(case.image_trouble, "the image could not be fetched")
    if not case.image_ready and case.image_makes_room:
        return Decision(phase=Phase.PREPARING, reason="making room for the image")
    if not case.image_ready:
        prepare = Prepare(type=placement.type, image=placement.image)
        return Decision(phase=Phase.PREPARING, step=prepare, reason="fetching the image")
    step = Create(uid=placement.uid, type=placement.type, placement=placement, reason="not there")
    return Decision(phase=Phase.CREATING, step=step)


def waiting(case: Case) -> Decision:
    ended = case.instance.ended if case.instance else ""
    return _wait(case.history, ended or "it was removed from outside")


def _wait(history: History, why: str) -> Decision:
    again = f"trying again after {history.pause:.1f} s (failure {history.failures} in a row)"
    return Decision(
        phase=Phase.FAILED, reason=f"{history.error or why}; {again}", wake_at=history.retry_at
    )


def start(case: Case) -> Decision:
    if case.now < case.history.retry_at:
        return waiting(case)
    return _start(case, restart=False, reason="made, not started yet")


def _start(case: Case, *, restart: bool, reason: str) -> Decision:
    it = _there(case)
    step = Start(uid=it.uid, type=it.type, handle=it.handle, reason=reason, restart=restart)
    return Decision(phase=Phase.STARTING, step=step, reason=reason)


def resume(case: Case) -> Decision:
    """It ran and ended: what its restart policy says."""
    it, policy = _there(case), case.placement.restart
    final = policy is RestartPolicy.NEVER or (policy is RestartPolicy.ON_FAILURE and it.clean)
    if final and not case.halted:
        phase = Phase.STOPPED if it.clean else Phase.FAILED
        return Decision(phase=phase, reason=f"{it.ended}; restart policy {policy}", final=True)
    if case.now < case.history.retry_at:
        return waiting(case)
    if case.halted:
        return _start(case, restart=False, reason="wanted running")
    return _start(case, restart=True, reason=it.ended)


def keep(case: Case) -> Decision:
    return Decision(phase=Phase.RUNNING)


def rest(case: Case) -> Decision:
    return Decision(phase=Phase.STOPPED)


def halt(case: Case) -> Decision:
    return _stop(case, "wanted stopped")


def halt_to_update(case: Case) -> Decision:
    if case.live:
        return adjust(case)
    return _stop(case, "restart with other limits")


def _stop(case: Case, reason: str) -> Decision:
    if case.now < case.history.retry_at:
        return waiting(case)
    it = _there(case)
    step = Stop(uid=it.uid, type=it.type, handle=it.handle, reason=reason)
    return Decision(phase=Phase.STOPPING, step=step, reason=reason)


def adjust(case: Case) -> Decision:
    if case.now < case.history.retry_at:
        return waiting(case)
    it, wanted = _there(case), case.placement
    reason = f"memory {it.memory} -> {wanted.memory}, cpus {it.cpus} -> {wanted.cpus}"
    step = Update(
        uid=it.uid, type=it.type, handle=it.handle, placement=case.placement, reason=reason
    )
    phase = Phase.RUNNING if it.life is Life.RUNNING else Phase.STARTING
    return Decision(phase=phase, step=step, reason=reason)


def clear(case: Case) -> Decision:
    """Something of an earlier epoch is in the way."""
    if case.now < case.history.retry_at:
        return waiting(case)
    step = _remove(_there(case), "replaced")
    return Decision(phase=Phase.REMOVING, step=step, reason="removing the instance it replaces")


def leave_paused(case: Case) -> Decision:
    """Whoever paused it has a reason; stopping it would lose its memory."""
    return Decision(phase=Phase.FAILED, reason="it was paused from outside; unpause it to go on")


def leave_later(case: Case) -> Decision:
    it = _there(case)
    reason = f"an instance of the later epoch {it.epoch} is here; it is left alone"
    return Decision(phase=Phase.FAILED, reason=reason)


TRANSITIONS: dict[tuple[Wanted, Found], Callable[[Case], Decision]] = {
    (Wanted.RUNNING, Found.ABSENT): make,
    (Wanted.RUNNING, Found.STALE): clear,
    (Wanted.RUNNING, Found.LATER): leave_later,
    (Wanted.RUNNING, Found.FRESH): start,
    (Wanted.RUNNING, Found.RUNNING): keep,
    (Wanted.RUNNING, Found.PAUSED): leave_paused,
    (Wanted.RUNNING, Found.ENDED): resume,
    (Wanted.RUNNING, Found.DRIFTED_RUNNING): halt_to_update,
    (Wanted.RUNNING, Found.DRIFTED_ENDED): adjust,
    (Wanted.STOPPED, Found.ABSENT): rest,
    (Wanted.STOPPED, Found.STALE): clear,
    (Wanted.STOPPED, Found.LATER): leave_later,
    (Wanted.STOPPED, Found.FRESH): rest,
    (Wanted.STOPPED, Found.RUNNING): halt,
    (Wanted.STOPPED, Found.PAUSED): halt,
    (Wanted.STOPPED, Found.ENDED): rest,
    (Wanted.STOPPED, Found.DRIFTED_RUNNING): halt,
    (Wanted.STOPPED, Found.DRIFTED_ENDED): adjust,
}
"""Every pair of what can be wanted of a placement and what can be found of it."""
