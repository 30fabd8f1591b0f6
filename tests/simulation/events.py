"""What can happen next: one function per kind of event, and how likely each is.

Each gives the line for the log, or "" where it cannot happen now.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from reconciler.store import Deposed, StoreError
from tests.simulation.control import Controller
from tests.simulation.faults import Crashed
from tests.simulation.node import SimNode, shown
from tests.simulation.oracle import demand
from tests.simulation.users import Request, call
from tests.simulation.wire import answer, arrive, ask, give_up, hear
from tests.simulation.world import World

Event = Callable[[World], str]


def pass_(world: World) -> str:
    """As `Loop.run`: only when woken."""
    controller = world.controller
    if controller is None or controller.passed == controller.cluster.signal.version:
        return ""
    return reconcile(world, controller)


def reconcile(world: World, controller: Controller) -> str:
    """One pass of a controller, perhaps of one that is no longer in charge."""
    before = stored_revision(world)
    version = controller.cluster.signal.version
    try:
        controller.meet()
        changed = controller.loop.step()
    except Crashed:
        world.controller_crashed(controller)
        return f"controller {controller.term} crashed in a write"
    except Deposed:
        demand(controller is not world.controller, "S3: the reigning controller was deposed")
        world.deposed.remove(controller)
        return f"controller {controller.term} is deposed"
    except StoreError as error:
        demand(world.store_full, f"the store failed: {error}")
        return f"controller {controller.term}: {error}"
    now = stored_revision(world)
    demand(
        controller is world.controller or now == before,
        f"S3: controller {controller.term} committed after another took over",
    )
    controller.meet()
    controller.passed = 0 if changed else version
    return f"controller {controller.term} passes, revision {now}" if changed else ""


def stored_revision(world: World) -> int:
    """Whatever any store has cached."""
    ((revision,),) = world.query("SELECT revision FROM meta")
    return int(revision)


def work(world: World) -> str:
    """Something that one host can do now."""
    node = world.rng.choice(world.nodes)
    acts = [act for act, able in ACTS if able(node)]
    return world.rng.choice(acts)(world, node) if acts else ""


def _tick(world: World, node: SimNode) -> str:
    before = len(node.pending)
    node.tick()
    return f"{node.host} ticks: {', '.join(map(shown, node.pending[before:])) or 'nothing'}"


def _perform(world: World, node: SimNode) -> str:
    return f"{node.host} does {node.perform(world.rng.randrange(len(node.pending)))}"


def _finish(world: World, node: SimNode) -> str:
    step = node.finish(world.rng.randrange(len(node.done)))
    return f"{node.host} knows the end of {shown(step)}"


def _notice(world: World, node: SimNode) -> str:
    index = world.rng.randrange(len(node.notices))
    type_, handle = node.notices[index]
    node.hear(index)
    return f"{node.host} is told of {type_} {handle or 'anything'}"


ACTS: tuple[tuple[Callable[[World, SimNode], str], Callable[[SimNode], bool]], ...] = (
    (_tick, SimNode.due),
    (_perform, lambda node: bool(node.pending)),
    (_finish, lambda node: bool(node.done)),
    (_notice, lambda node: bool(node.notices) and node.agent is not None),
)


def repair(world: World) -> str:
    node = world.rng.choice(world.nodes)
    if node.agent is None or not node.bound:
        return ""
    broken = sorted(node.gaps - node.down) or [world.rng.choice(list(node.engines))]
    node.repair(broken[0])
    return f"{node.host}: the stream of {broken[0]} works again"


def engine(world: World) -> str:
    """An engine goes down or comes back."""
    node = world.rng.choice(world.nodes)
    if node.down:
        type_ = node.down.pop()
        node.gaps.add(type_)
        return f"{node.host}: {type_} answers again"
    if not world.faults.hit("engine down"):
        return ""
    type_ = world.rng.choice(list(node.engines))
    node.down.add(type_)
    return f"{node.host}: {type_} is down"


def land(world: World) -> str:
    node = world.rng.choice(world.nodes)
    if not node.late:
        return ""
    step = node.late.pop(world.rng.randrange(len(node.late)))
    node.land(step)
    world.faults.did("late effect")
    return f"{node.host}: a dead caller's {shown(step)} is done"


def slow(world: World) -> str:
    node = world.rng.choice(world.nodes)
    if not node.slow:
        return ""
    node.done.append(node.slow.pop(0))
    return f"{node.host}: a slow look is done"


def wait(world: World) -> str:
    spans = ((0.01, 0.5), (0.5, 3), (0.5, 3), (3, 15), (15, 90))
    world.now += world.rng.uniform(*world.rng.choice(spans))
    return "time passes"


def agent(world: World) -> str:
    """An agent ends, or starts again; seldom the whole host does."""
    node = world.rng.choice(world.nodes)
    if node.agent is None:
        node.start()
        return f"{node.host}: the agent starts"
    if world.rng.random() < 0.75:
        return ""
    if world.rng.random() < 0.25:
        node.reboot()
        world.faults.did("host reboot")
        return f"{node.host} reboots"
    node.crash()
    world.faults.did("agent crash")
    return f"{node.host}: the agent crashes"


def controller(world: World) -> str:
    """The controller ends, starts, or is taken for dead while it is only slow."""
    old = world.controller
    if old is not None and world.rng.random() < 0.6:
        return ""
    if old is not None and world.rng.random() < 0.5:
        world.controller = None
        world.faults.did("controller crash")
        return f"controller {old.term} crashes"
    if old is not None:
        world.deposed.append(old)
        world.faults.did("second controller")
    try:
        new = world.started() if old else world.new_controller()
    except (Crashed, StoreError):
        return "a controller crashed at its start"
    return f"controller {new.term} starts{', beside the old one' if old else ''}"


def deposed(world: World) -> str:
    """A controller that does not know of the new one goes on."""
    return reconcile(world, world.rng.choice(world.deposed)) if world.deposed else ""


def user(world: World) -> str:
    if world.controller is None:
        return ""
    request = world.users.next(world.controller.store.snapshot())
    return hand_in(world, request) if request else ""


def hand_in(world: World, request: Request) -> str:
    assert world.controller is not None
    named = [f"{it['kind'][0]}:{it['metadata']['name']}" for it in request.documents]
    named += [f"-{name}" for _, name in request.deletes]
    prune = " prune" if request.body and request.body.get("prune") else ""
    told = world.users.send(world.controller, request)
    return f"user {request.method} {request.path} {' '.join(named)}{prune}: {told}"


def look(world: World) -> str:
    if world.controller is None:
        return ""
    kind = world.rng.choice(("machines", "machines", "nodes"))
    status, body = call(world.controller.app, Request("GET", f"/iaas/{kind}"))
    demand(status == 200, f"API: GET {kind} gives {status}")
    found = json.loads(body)
    if kind == "machines":
        world.saying.shown(world.controller, found)
    states = " ".join(f"{it['name']}={it['state']}" for it in found)
    return f"user sees {states}"


def outside(world: World) -> str:
    return world.outsider.act(world.nodes)


EVENTS: tuple[tuple[Event, float], ...] = (
    (work, 40),
    (pass_, 10),
    (ask, 9),
    (arrive, 10),
    (answer, 10),
    (hear, 10),
    (give_up, 2),
    (repair, 2),
    (engine, 1.5),
    (land, 0.3),
    (slow, 4),
    (wait, 4),
    (agent, 2),
    (controller, 0.8),
    (deposed, 1.5),
    (user, 6),
    (look, 0.7),
    (outside, 3),
)
