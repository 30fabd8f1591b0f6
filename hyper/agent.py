"""The agent without its threads: told of assignments, looks and finished steps, it says what to do.

`tick` gives the steps to carry out now; `finish` takes what became of each. Time comes in as an
argument; nothing here blocks but the ledger. `hyper.runner` drives it with threads, the simulation
without.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from hyper.core.admission import Refusal, admit, changed_roles, halted_under, roles_of
from hyper.core.backoff import FRESH, History, failed, forgiven, seen, started
from hyper.core.converge import Case, Decision, bury, decide, erase
from hyper.core.looking import AGAIN, ANYWAY, Looking
from hyper.core.model import Host, Instance, Life, Stock, Traits
from hyper.core.publishing import Publishing, ports_of, publication
from hyper.core.saying import programs, say, say_engine, say_unassigned, since, told
from hyper.core.shelf import Shelf, Use, use_of
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
    Listener,
    MachineReport,
    Phase,
    Placement,
    Report,
    Tombstone,
)

DESERTED = 30.0
"""Seconds without a word of its own controller after which an agent without machines may go to
another cluster: two controllers that know one agent shall not take it from one another by turns."""
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
        self,
        *,
        ledger: Ledger,
        engines: Mapping[MachineType, Traits],
        host: Host,
        stock: Iterable[Stock] = (),
    ) -> None:
        """`stock`: images that are here, the least recently used first."""
        self._ledger = ledger
        self._traits = engines
        self._host = host
        usable = tuple(type_ for type_, traits in engines.items() if not traits.missing)
        self._views = Views(usable)
        self._looking = Looking(usable)
        self._history: dict[str, History] = {}
        self._busy: dict[object, tuple[Step, Phase]] = {}
        self._erased: set[Tombstone] = set()
        self._heard: float | None = None
        self._shelf = Shelf(stock)
        self._publishing = Publishing()
        self._listeners: tuple[Listener, ...] = ()
        self._served = tuple(type_ for type_ in usable if not engines[type_].native_ports)
        self.report = Report(
            node=self.assignment.node if self.assignment else Name("unnamed"),
            boot=host.boot,
            revision=0,
            generation=0,
            cpus=host.cpus,
            memory=host.memory,
            version=host.version,
            drivers=self._drivers(),
        )

    @property
    def assignment(self) -> Assignment | None:
        return self._ledger.entry.assignment

    @property
    def looked(self) -> bool:
        """Whether the report tells of the engines, and not only that they were not asked yet."""
        return self._views.looked()

    # What comes in.

    def exchange(self, request: Exchange, now: float = 0.0) -> bool:
        """Take a controller's word; True if the assignment is new. Raises Refusal."""
        before, vacant = self.assignment, self._vacant()
        if self._heard is None:
            self._heard = now
        stranger = before is not None and request.cluster != before.cluster
        if stranger and vacant and now - self._heard < DESERTED:
            raise Refusal("cluster", "this agent is of another cluster, and hears from it")
        taken = admit(request, before, vacant=vacant)
        self._heard = now
        if taken is None or taken == before:
            return False
        self._ledger.save(
            Entry(assignment=taken, halted=halted_under(self._ledger.entry.halted, taken))
        )
        for uid in changed_roles(before, taken) & self._history.keys():
            # What is wanted otherwise from now on is tried at once, however often it failed so far.
            self._history[uid] = forgiven(self._history[uid])
        return True

    def _vacant(self) -> bool:
        """Whether nothing binds the agent to its cluster and name any more."""
        idle = self.assignment is None or not self.assignment.run
        busy = any(isinstance(step, MACHINE_STEPS) for step, _ in self._busy.values())
        known = all(engine.known for engine in self._views.engines.values())
        return idle and not busy and known and not any(self._views.instances())

    def notify(self, type_: MachineType, handle: str | None) -> None:
        """The engine says that something changed: one instance, or (None) anything."""
        self._looking.note(type_, handle)

    def hear(self, listeners: tuple[Listener, ...]) -> None:
        """Which ports the node's own programs have now."""
        self._listeners = listeners

    def progress(self, sha256: str, done: int) -> None:
        """So many bytes of an image are here."""
        self._shelf.progress(sha256, done)

    # What goes out.

    def tick(self, now: float, wall: float) -> tuple[list[Step], float | None]:
        """The steps to carry out now, and when to tick again at the latest (None: on an event).

        `now` is the monotonic clock, `wall` the time of day for people.
        """
        turn = Turn(now)
        self._discard(turn)
        machines = tuple(self._machines(turn))
        self._publish(turn)
        self._look(turn)
        self._tell(machines, wall)
        return turn.steps, min(turn.wakes, default=None)

    def _begin(self, turn: Turn, step: Step, phase: Phase = Phase.RUNNING) -> None:
        if key_of(step) not in self._busy:
            self._busy[key_of(step)] = (step, phase)
            turn.steps.append(step)

    def _machines(self, turn: Turn) -> Iterator[MachineReport]:
        mine = self.assignment
        roles = roles_of(mine)
        self._erased &= set(mine.leaving if mine else ())
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
        return say(
            Uid(uid),
            epoch,
            decision.phase,
            decision.reason,
            instance,
            self._restarts(uid),
            final=decision.final,
        )

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
        known = order.type in self._views.engines and self._views.engines[order.type].known
        files = order.type in self._traits and self._traits[order.type].files
        if order in self._erased or not files or not known:
            return None  # of a silent engine it is not known that no instance is left
        return erase(order, history, now)

    def _say_busy(self, uid: str, instance: Instance | None) -> MachineReport | None:
        step, phase = self._busy[uid]
        assert isinstance(step, MACHINE_STEPS)
        epoch = step.placement.epoch if isinstance(step, Create) else getattr(step, "epoch", 0)
        if phase is Phase.RUNNING and not (instance and instance.life is Life.RUNNING):
            phase = Phase.STARTING  # it ended or vanished while the step is at work
        return say(step.uid, epoch, phase, step.reason, instance, self._restarts(uid))

    def _restarts(self, uid: str) -> int:
        return self._history.get(uid, FRESH).restarts

    def _place(self, placement: Placement, instance: Instance | None, now: float) -> Decision:
        uid = placement.uid
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
            image_makes_room=self._shelf.makes_room(placement),
            live=self._traits[placement.type].live,
            now=now,
        )
        decision = decide(case)
        if decision.phase is Phase.RUNNING and decision.step is None:
            self._halt(uid, halted=False)  # it runs: from now on its restart policy has its say
        if isinstance(decision.step, Start) and self._still_published(placement):
            reason = "waiting until its ports no longer lead to another machine"
            return Decision(phase=Phase.STARTING, reason=reason)
        return self._until_published(placement, instance, decision)

    def _still_published(self, placement: Placement) -> bool:
        """Whether the publisher may have ports of a machine whose own engine publishes them."""
        if placement.type in self._served or not placement.ports or not self._served:
            return False
        published = self._publishing.published
        if published is None:  # what an earlier agent published is replaced any moment now
            return self._served_known()
        taken = {(port.protocol, port.node) for port in published}
        return any((port.protocol, port.node) in taken for port in placement.ports)

    def _served_known(self) -> bool:
        return all(self._views.engines[type_].known for type_ in self._served)

    def _until_published(
        self, placement: Placement, instance: Instance | None, decision: Decision
    ) -> Decision:
        """A machine counts as running only when its ports are published."""
        served = placement.type in self._served
        if not served or instance is None or decision.phase is not Phase.RUNNING:
            return decision
        reason = self._publishing.why_not(ports_of(placement, instance))
        return replace(decision, phase=Phase.STARTING, reason=reason) if reason else decision

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

    def _wanted_running(self, uid: Uid) -> bool:
        run = self.assignment.run if self.assignment else ()
        return any(item.uid == uid and item.state is PowerState.RUNNING for item in run)

    def _publish(self, turn: Turn) -> None:
        if self.assignment is None or not self._served or not self._served_known():
            return
        run = [item for item in self.assignment.run if item.type in self._served]
        wanted, by = publication(run, self._views.by_uid()), self.assignment.publisher
        step, wakes = self._publishing.step(wanted, turn.now, by)
        turn.wakes += wakes
        if step is not None:
            self._begin(turn, step)

    def _discard(self, turn: Turn) -> None:
        steps, wakes = self._shelf.discards(self._use(), turn.now)
        turn.wakes += wakes
        for step in steps:
            self._begin(turn, step)

    def _use(self) -> Use:
        engines = self._views.engines.items()
        known = [type_ for type_, engine in engines if engine.known]
        steps = [step for step, _ in self._busy.values()]
        return use_of(self.assignment, self._views.instances(), steps, known)

    def _look(self, turn: Turn) -> None:
        touched = {getattr(step, "handle", None) for step, _ in self._busy.values()}
        looks, wakes = self._looking.steps(turn.now, self._busy.keys(), touched)
        turn.wakes += wakes
        for step in looks:
            self._begin(turn, step)

    def _tell(self, machines: tuple[MachineReport, ...], wall: float) -> None:
        """Make the report, a new revision only where something is new in it."""
        engines = self._views.engines.values()
        foreign = tuple(item for engine in engines for item in engine.foreign)
        self.report = told(
            self.report,
            self.assignment,
            self._drivers(),
            since(machines, self.report, wall),
            foreign,
            programs(self._listeners, self._traits, self.assignment.run if self.assignment else ()),
            self._shelf.reports(self._use()),
        )

    def _drivers(self) -> tuple[DriverReport, ...]:
        return tuple(
            say_engine(type_, traits.missing, self._views.engines.get(type_))
            for type_, traits in self._traits.items()
        )

    # What became of the steps.

    def finish(self, step: Step, outcome: Outcome, now: float) -> None:
        self._busy.pop(key_of(step), None)
        if isinstance(step, Publish):
            self._publishing.finished(step, outcome, now)
            return
        if outcome.down:
            self._views.engines[step.type].lost(outcome.error)
            self._looking.again(step.type, now + AGAIN)
        if isinstance(step, Prepare | Discard):
            self._shelf.finished(step, outcome, now)
        elif isinstance(step, Look):
            self._finish_look(step, outcome, now)
        else:
            self._finish_machine(step, outcome, now)

    def _finish_look(self, step: Look, outcome: Outcome, now: float) -> None:
        engine = self._views.engines[step.type]
        if outcome.short is not None:
            self._shelf.measured(outcome.short)
        if outcome.view is not None and step.handle is not None:
            engine.strangers(outcome.view.foreign, outcome.ticket)
        elif outcome.view is not None:
            engine.looked(outcome.view, outcome.ticket)
            self._looking.again(step.type, now + (AGAIN if outcome.view.error else ANYWAY))
        elif outcome.error and step.handle is None:
            engine.lost(outcome.error)
            self._looking.again(step.type, now + AGAIN)
        elif outcome.error:
            self._looking.again(step.type, now)  # what was to be seen here is told only once
        elif step.handle is not None:
            engine.inspected(step.handle, outcome.instance, outcome.ticket)

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
            if self._wanted_running(uid):
                self._halt(uid, halted=False)
