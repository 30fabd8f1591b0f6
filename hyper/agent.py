"""The agent without its threads: told of assignments, looks and finished steps, it says what to do.

`tick` gives the steps to carry out now; `finish` takes what became of each. Time comes in as an
argument; nothing here blocks but the ledger. `hyper.runner` drives it with threads, the simulation
without.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from hyper.core.admission import admit
from hyper.core.backoff import FRESH, History, failed, forgiven, seen, started
from hyper.core.converge import Case, Decision, bury, decide, erase
from hyper.core.model import Host, Instance, Life, Publication, Traits
from hyper.core.publishing import ports_of, publication
from hyper.core.saying import say, say_unassigned, since
from hyper.core.shelf import Shelf
from hyper.core.steps import (
    MACHINE_STEPS,
    Create,
    Discard,
    Erase,
    Look,
    MachineStep,
    Outcome,
    Prepare,
    Publish,
    Remove,
    Start,
    Step,
    Stop,
    key_of,
)
from hyper.core.views import Views
from hyper.ledger import Entry, Ledger, LedgerError, with_halted
from manifests.kinds.image import MachineType
from manifests.kinds.machine import PowerState
from manifests.scalars import Name, Uid
from manifests.wire import (
    Assignment,
    DriverReport,
    Exchange,
    MachineReport,
    Phase,
    Placement,
    Report,
    Tombstone,
)

LOOK_ANYWAY = 300.0
"""Seconds after which everything is looked at although no event came: no event stream is perfect."""
LOOK_AGAIN = 5.0
"""Seconds until an engine that did not answer is looked at again; its event stream is quicker."""
WRITE_AGAIN = 1.0
"""Seconds until the ledger is written again that could not be."""


@dataclass(slots=True)
class Turn:
    """What one tick decides, as it goes."""

    now: float
    steps: list[Step] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)


class Agent:
    def __init__(
        self, *, ledger: Ledger, engines: Mapping[MachineType, Traits], host: Host
    ) -> None:
        self._ledger = ledger
        self._traits = engines
        self._host = host
        usable = tuple(type_ for type_, traits in engines.items() if not traits.missing)
        self._views = Views(usable)
        self._looks: dict[MachineType, float | None] = dict.fromkeys(usable, 0.0)
        self._noted: set[tuple[MachineType, str]] = set()
        self._history: dict[str, History] = {}
        self._busy: dict[object, tuple[Step, Phase]] = {}
        self._erased: set[Tombstone] = set()
        self._shelf = Shelf()
        self._published: Publication | None = None
        self._publish_trouble = FRESH
        self.report = Report(
            node=self.assignment.node if self.assignment else Name("unnamed"),
            boot=host.boot,
            revision=0,
            generation=0,
            cpus=host.cpus,
            memory=host.memory,
            version=host.version,
            drivers=tuple(self._engine(type_) for type_ in engines),
        )

    @property
    def assignment(self) -> Assignment | None:
        return self._ledger.entry.assignment

    # What comes in.

    def exchange(self, request: Exchange) -> bool:
        """Take a controller's word; True if the assignment is new. Raises Refusal."""
        before = self.assignment
        taken = admit(request, before, vacant=self._vacant())
        if taken is None or taken == before:
            return False
        run = {item.uid for item in taken.run}
        halted = tuple(uid for uid in self._ledger.entry.halted if uid in run)
        self._ledger.save(Entry(assignment=taken, halted=halted))
        self._forgive(before, taken)
        return True

    def _forgive(self, before: Assignment | None, after: Assignment) -> None:
        """What is wanted otherwise from now on is tried at once, however often it failed so far."""
        old = _roles(before) if before else {}
        for uid, role in _roles(after).items():
            if uid in self._history and role != old.get(uid):
                self._history[uid] = forgiven(self._history[uid])

    def _vacant(self) -> bool:
        """Whether nothing binds the agent to its cluster and name any more."""
        idle = self.assignment is None or not self.assignment.run
        busy = any(isinstance(step, MACHINE_STEPS) for step, _ in self._busy.values())
        known = all(engine.known for engine in self._views.engines.values())
        return idle and not busy and known and not any(self._views.instances())

    def notify(self, type_: MachineType, handle: str | None) -> None:
        """The engine says that something changed: one instance, or (None) anything."""
        if handle is None:
            self._looks[type_] = 0.0
        else:
            self._noted.add((type_, handle))

    # What goes out.

    def tick(self, now: float, wall: float) -> tuple[list[Step], float | None]:
        """The steps to carry out now, and when to tick again at the latest (None: on an event).

        `now` is the monotonic clock, `wall` the time of day for people.
        """
        turn = Turn(now)
        machines = tuple(self._machines(turn))
        self._publish(turn)
        self._discard(turn)
        self._look(turn)
        self._tell(machines, wall)
        return turn.steps, min(turn.wakes, default=None)

    def _begin(self, turn: Turn, step: Step, phase: Phase = Phase.RUNNING) -> None:
        if key_of(step) not in self._busy:
            self._busy[key_of(step)] = (step, phase)
            turn.steps.append(step)

    def _machines(self, turn: Turn) -> Iterator[MachineReport]:
        mine = self.assignment
        roles: dict[str, Placement | Tombstone] = {}
        if mine:
            roles |= {item.uid: item for item in mine.leaving}
            self._erased &= set(mine.leaving)
            roles |= {item.uid: item for item in mine.run}
        there = self._views.by_uid()
        busy = {str(step.uid) for step, _ in self._busy.values() if isinstance(step, MACHINE_STEPS)}
        self._history = {uid: old for uid, old in self._history.items() if uid in roles}
        for uid in sorted({*roles, *there, *busy}):
            instance = there[uid][0] if uid in there else None
            if report := self._machine(turn, uid, roles.get(uid), instance):
                yield report

    def _machine(
        self, turn: Turn, uid: str, role: Placement | Tombstone | None, instance: Instance | None
    ) -> MachineReport | None:
        """Do and say what is due for one machine. Nothing is said of one whose engine is silent."""
        if uid in self._busy:
            return self._say_busy(uid, instance)
        if isinstance(role, Placement):
            engine = self._views.engines.get(role.type)
            if engine is None or not engine.known:
                return None
        try:
            decision = self._decide(turn, role, instance)
        except LedgerError as error:
            # Nothing was done of it; other machines go on.
            decision = Decision(phase=Phase.FAILED, reason=f"{error}; trying again")
            turn.wakes.append(turn.now + WRITE_AGAIN)
        if decision is None:
            return say_unassigned(instance) if instance else None
        epoch = role.epoch if role else 0
        return say(Uid(uid), epoch, decision.phase, decision.reason, instance, self._restarts(uid))

    def _decide(
        self, turn: Turn, role: Placement | Tombstone | None, instance: Instance | None
    ) -> Decision | None:
        """What to do and say of one machine, begun; None: nothing. Raises LedgerError."""
        decision: Decision | None = None
        if isinstance(role, Placement):
            decision = self._place(role, instance, turn.now)
        elif isinstance(role, Tombstone):
            decision = self._bury(role, instance, turn.now)
        if decision is not None:
            self._follow(turn, decision)
        return decision

    def _bury(self, order: Tombstone, instance: Instance | None, now: float) -> Decision | None:
        history = self._history.get(order.uid, FRESH)
        if instance is not None:
            return bury(order, instance, history, now)
        keepers = [type_ for type_ in self._looks if self._traits[type_].files]
        known = all(self._views.engines[type_].known for type_ in keepers)
        if order in self._erased or not keepers or not known:
            return None  # of a silent engine it is not known that no instance is left
        return erase(order, keepers[0], history, now)

    def _say_busy(self, uid: str, instance: Instance | None) -> MachineReport | None:
        step, phase = self._busy[uid]
        assert isinstance(step, MACHINE_STEPS)
        epoch = step.placement.epoch if isinstance(step, Create) else getattr(step, "epoch", 0)
        return say(step.uid, epoch, phase, step.reason, instance, self._restarts(uid))

    def _restarts(self, uid: str) -> int:
        return self._history.get(uid, FRESH).restarts

    def _place(self, placement: Placement, instance: Instance | None, now: float) -> Decision:
        uid = placement.uid
        if placement.state is PowerState.STOPPED:
            self._halt(uid, halted=True)
        halted = uid in self._ledger.entry.halted
        running = instance is not None and instance.life is not Life.STOPPED
        history = seen(
            self._history.get(uid, FRESH), running=running, halted=halted, uid=uid, now=now
        )
        self._history[uid] = history
        case = Case(
            placement=placement,
            instance=instance,
            history=history,
            halted=halted,
            image_ready=self._shelf.has(placement),
            image_trouble=self._shelf.trouble(placement),
            live=self._traits[placement.type].live,
            now=now,
        )
        decision = decide(case)
        if isinstance(decision.step, Start) and self._still_published(placement):
            reason = "waiting until its ports no longer lead to another machine"
            return Decision(phase=Phase.STARTING, reason=reason)
        return self._until_published(placement, instance, decision)

    def _still_published(self, placement: Placement) -> bool:
        """Whether the publisher may have ports of a machine whose own engine publishes them."""
        served = [type_ for type_ in self._looks if not self._traits[type_].native_ports]
        if placement.type in served or not placement.ports or not served:
            return False
        if self._published is None:  # what an earlier agent published is replaced any moment now
            return all(self._views.engines[type_].known for type_ in served)
        taken = {(port.protocol, port.node) for port in self._published}
        return any((port.protocol, port.node) in taken for port in placement.ports)

    def _until_published(
        self, placement: Placement, instance: Instance | None, decision: Decision
    ) -> Decision:
        """A machine counts as running only when its ports are published."""
        native = self._traits[placement.type].native_ports
        if native or instance is None or decision.phase is not Phase.RUNNING:
            return decision
        published = self._published or {}
        wanted = ports_of(placement, instance)
        if all(published.get(port) == target for port, target in wanted.items()):
            return decision
        trouble = self._publish_trouble.error
        reason = f"its ports are not published: {trouble}" if trouble else "publishing its ports"
        return replace(decision, phase=Phase.STARTING, reason=reason)

    def _follow(self, turn: Turn, decision: Decision) -> None:
        if decision.step is not None:
            if isinstance(decision.step, Stop):
                # On disk before it happens: what we stop ourselves is started again whatever the
                # restart policy says, also by an agent that was killed in between.
                self._halt(decision.step.uid, halted=True)
            self._begin(turn, decision.step, decision.phase)
        if decision.wake_at is not None:
            turn.wakes.append(decision.wake_at)

    def _halt(self, uid: Uid, *, halted: bool) -> None:
        if (uid in self._ledger.entry.halted) is not halted:
            self._ledger.save(with_halted(self._ledger.entry, uid, halted))

    def _publish(self, turn: Turn) -> None:
        served = [type_ for type_ in self._looks if not self._traits[type_].native_ports]
        if self.assignment is None or not served:
            return
        if not all(self._views.engines[type_].known for type_ in served):
            return
        run = [item for item in self.assignment.run if item.type in served]
        wanted = publication(run, self._views.by_uid())
        if wanted == self._published:
            return
        if turn.now < self._publish_trouble.retry_at:
            turn.wakes.append(self._publish_trouble.retry_at)
            return
        self._begin(turn, Publish(wanted=wanted))

    def _discard(self, turn: Turn) -> None:
        run = self.assignment.run if self.assignment else ()
        wanted = {(item.uid, item.epoch) for item in run}
        if any((it.uid, it.epoch) not in wanted for it in self._views.instances()):
            return  # what those start from is not known, and a VM's disk rests on its image
        steps, later = self._shelf.discards(run, turn.now)
        for step in steps:
            if self._views.engines[step.type].known:
                self._begin(turn, step)
        turn.wakes += later

    def _look(self, turn: Turn) -> None:
        for type_, due in self._looks.items():
            if due is None or key_of(Look(type=type_)) in self._busy:
                continue
            if due > turn.now:
                turn.wakes.append(due)
                continue
            self._looks[type_] = None
            self._begin(turn, Look(type=type_))
        # What a step is at work on is looked at when the step is finished.
        touched = {getattr(step, "handle", None) for step, _ in self._busy.values()}
        for type_, handle in sorted(self._noted):
            if handle not in touched:
                self._noted.discard((type_, handle))
                self._begin(turn, Look(type=type_, handle=handle))

    def _tell(self, machines: tuple[MachineReport, ...], wall: float) -> None:
        """Make the report, a new revision only where something is new in it."""
        old = {(it.uid, it.epoch): it for it in self.report.machines}
        mine = self.assignment
        new = replace(
            self.report,
            node=mine.node if mine else self.report.node,
            generation=mine.generation if mine else 0,
            drivers=tuple(self._engine(type_) for type_ in self._traits),
            machines=tuple(since(it, old.get((it.uid, it.epoch)), wall) for it in machines),
            foreign=tuple(
                item for engine in self._views.engines.values() for item in engine.foreign
            ),
        )
        if new != self.report:
            self.report = replace(new, revision=self.report.revision + 1)

    def _engine(self, type_: MachineType) -> DriverReport:
        if missing := self._traits[type_].missing:
            return DriverReport(type=type_, ok=False, detail=missing)
        engine = self._views.engines[type_]
        return DriverReport(type=type_, ok=engine.known, detail=engine.error)

    # What became of the steps.

    def finish(self, step: Step, outcome: Outcome, now: float) -> None:
        self._busy.pop(key_of(step), None)
        if isinstance(step, Publish):
            self._finish_publish(step, outcome, now)
            return
        if outcome.down:
            self._views.engines[step.type].lost(outcome.error)
            self._look_again(step.type, now + LOOK_AGAIN)
        if isinstance(step, Prepare):
            self._shelf.prepared(step, outcome.error, now)
        elif isinstance(step, Discard):
            self._shelf.discarded(step)
        elif isinstance(step, Look):
            self._finish_look(step, outcome, now)
        else:
            self._finish_machine(step, outcome, now)

    def _finish_publish(self, step: Publish, outcome: Outcome, now: float) -> None:
        if outcome.error:
            old = self._publish_trouble
            self._publish_trouble = failed(old, error=outcome.error, uid="publish", now=now)
        else:
            self._published, self._publish_trouble = step.wanted, FRESH

    def _finish_look(self, step: Look, outcome: Outcome, now: float) -> None:
        engine = self._views.engines[step.type]
        if outcome.view is not None:
            engine.looked(outcome.view, outcome.ticket)
            self._look_again(step.type, now + (LOOK_AGAIN if outcome.view.error else LOOK_ANYWAY))
        elif outcome.error:
            # What was to be seen here is told only once; but a failing full look is no hot loop.
            self._look_again(step.type, now if step.handle else now + LOOK_AGAIN)
        elif step.handle is not None:
            engine.inspected(step.handle, outcome.instance, outcome.ticket)

    def _look_again(self, type_: MachineType, due: float) -> None:
        """At the latest when it is due; an event that came meanwhile has asked for an earlier look."""
        earlier = self._looks[type_]
        self._looks[type_] = due if earlier is None else min(earlier, due)

    def _finish_machine(self, step: MachineStep, outcome: Outcome, now: float) -> None:
        uid, history = step.uid, self._history.get(step.uid, FRESH)
        if outcome.handle and not outcome.down:
            engine = self._views.engines[step.type]
            engine.inspected(outcome.handle, outcome.instance, outcome.ticket)
        if outcome.error:
            self._history[uid] = failed(history, error=outcome.error, uid=uid, now=now)
            if isinstance(step, Create):
                self._shelf.lost(step.placement)  # perhaps its bytes are the trouble
        elif isinstance(step, Remove | Erase) and self.assignment:
            self._erased |= {it for it in self.assignment.leaving if it.uid == uid}
        elif isinstance(step, Start):
            self._history[uid] = started(history, restart=step.restart, now=now)
            self._halt(uid, halted=False)


def _roles(assignment: Assignment) -> dict[str, Placement | Tombstone]:
    """What becomes of each machine: it is here, or it leaves."""
    leaving: dict[str, Placement | Tombstone] = {it.uid: it for it in assignment.leaving}
    return leaving | {it.uid: it for it in assignment.run}
