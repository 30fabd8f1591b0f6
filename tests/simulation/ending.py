"""The end of a run: faults stop, everything heals, and calm must follow. L1, and S6 in all its forms.

What the calm cluster must look like is in `desired`.
"""

from __future__ import annotations

from manifests.kinds.image import MachineType
from tests.simulation import desired, events, wire
from tests.simulation.control import Controller
from tests.simulation.node import SimNode, shown
from tests.simulation.oracle import demand
from tests.simulation.world import World

MOST_ROUNDS = 120
MOST_PASSES = 40
MOST_STEPS = 400
CALM_ROUNDS = 10
JUMPS = (0.001, 0.001, 30.0, 100.0, 600.0)
"""Seconds let go by after so many idle rounds: longer than any pause or idle image is kept."""
Marks = tuple[object, ...]


def end(world: World) -> None:
    """Raises Violation."""
    heal(world)
    rounds = converge(world)
    world.say(f"converged after {rounds} rounds")
    if land(world):
        converge(world)
    desired.check(world)
    calm(world, "S6")
    restart_all(world)
    desired.check(world)


def heal(world: World) -> None:
    """No faults any more; what was lost is dropped, what was late arrives."""
    world.faults.on = False
    world.deposed.clear()
    world.say("everything heals")
    if world.controller is None:
        world.new_controller()
    for node in world.nodes:
        _heal_node(world, node)
    assert world.controller is not None
    for link in list(world.controller.open):
        world.controller.give_up(link)
    for question in list(world.questions):
        wire.deliver(world, question)
    for queue in (world.questions, world.held, world.answers):
        queue.clear()
    for request in world.users.retries:
        world.say(events.hand_in(world, request))
    world.users.retries.clear()
    world.check()


def _heal_node(world: World, node: SimNode) -> None:
    node.gaps |= node.down
    node.down.clear()
    if node.agent is None:
        node.start()
    node.done += node.slow
    node.slow.clear()
    # Whoever lost a notice looks at everything, as the contract of drivers says.
    if node.bound:
        for type_ in sorted(node.gaps):
            node.repair(type_)
    node.gaps.clear()


def land(world: World) -> int:
    """What dead agents asked of their engines is done at last, when nobody expects it."""
    found = [(node, step) for node in world.nodes for step in node.late]
    for node, step in found:
        node.late.remove(step)
        node.land(step)
        world.faults.did("late effect")
        world.say(f"{node.host}: a dead caller's {shown(step)} is done")
        world.check()
    return len(found)


def converge(world: World) -> int:
    """Rounds until nothing has happened for longer than anything waits; time jumps to what is due."""
    before: Marks = ()
    idle = 0
    for number in range(MOST_ROUNDS):
        round_(world)
        now = marks(world)
        idle = idle + 1 if now == before else 0
        if idle == len(JUMPS):
            return number - idle
        before = now
        world.now += max(soonest(world) or 0.001, JUMPS[idle])
    demand(False, f"L1: no calm after {MOST_ROUNDS} rounds: {busy(world)}")
    return MOST_ROUNDS


def round_(world: World) -> None:
    """A pass of the controller, all agents until they rest, an exchange with every node."""
    controller = world.controller
    assert controller is not None
    passes(world, controller)
    controller.meet()
    for link in sorted(controller.sessions):
        exchange(world, controller, link)
    for node in world.nodes:
        rest(world, node)
    passes(world, controller)


def passes(world: World, controller: Controller) -> None:
    for _ in range(MOST_PASSES):
        line = events.reconcile(world, controller)
        world.check()
        if not line:
            return
        world.say(line)
    demand(False, "L4: the controller's passes never end")


def exchange(world: World, controller: Controller, link: tuple[str, str]) -> None:
    if link not in controller.sessions:
        return
    question = controller.ask(link)
    node = world.by_address[link[1]]
    rest(world, node)
    wire.deliver(world, question)
    rest(world, node)
    if question in world.held:
        world.held.remove(question)
        reply = wire.answered(world, question)
        assert reply is not None
        wire.heard(world, reply)
    else:
        world.say(wire.heard(world, world.answers.pop()) + f": {link[0]} refuses")
    world.check()


def rest(world: World, node: SimNode) -> None:
    """The agent works until it has nothing to do now."""
    for _ in range(MOST_STEPS):
        if node.pending:
            world.say(f"{node.host} does {node.perform(0)}")
        elif node.done:
            node.finish(0)
        elif node.notices:
            node.hear(0)
        elif node.due() and node.agent is not None and node.agent.assignment is not None:
            node.tick()
        else:
            world.check()
            return
    demand(False, f"L4: the agent of {node.host} never rests")


def marks(world: World) -> Marks:
    """All that must not move in a calm cluster."""
    assert world.controller is not None
    reports = tuple(
        (node.agent.report.boot, node.agent.report.revision) for node in world.nodes if node.agent
    )
    mutations = tuple(node.mutations() for node in world.nodes)
    return world.controller.store.writes, reports, mutations


def soonest(world: World) -> float | None:
    """Seconds until an agent wants to do something by itself."""
    waits = [
        (node.wake_at - node.mono()) / node.rate for node in world.nodes if node.wake_at is not None
    ]
    return min(waits, default=None)


def busy(world: World) -> str:
    waits = world.controller.cluster.snapshot().waits if world.controller else {}
    said = [f"{name}: {why}" for (_, name), why in waits.items()]
    for node in world.nodes:
        for machine in node.agent.report.machines if node.agent else ():
            said.append(f"{node.host} {machine.uid[:8]} {machine.phase} {machine.reason}")
    return "; ".join(said)[:600]


def calm(world: World, rule: str) -> None:
    """Ten more rounds, with full looks, in which nothing may move."""
    before = marks(world)
    for _ in range(CALM_ROUNDS):
        world.now += 1
        for node in world.nodes:
            if node.bound:
                node.notices += [(type_, None) for type_ in MachineType]
        round_(world)
    now = marks(world)
    demand(now == before, f"{rule}: not calm: {before} became {now}")


def restart_all(world: World) -> None:
    """Everything is started anew; no machine may notice."""
    before = [sum(engine.mutations for engine in node.engines.values()) for node in world.nodes]
    for node in world.nodes:
        node.crash()
        node.start()
    world.new_controller()
    assert world.controller is not None
    writes = world.controller.store.writes
    world.say("everything starts anew")
    converge(world)
    now = [sum(engine.mutations for engine in node.engines.values()) for node in world.nodes]
    demand(now == before, f"S6: a restart changed machines: {before} became {now}")
    demand(world.controller.store.writes == writes, "S6: a restart wrote rows")
