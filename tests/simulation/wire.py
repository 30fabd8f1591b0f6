"""What can happen on the wire between controllers and agents: one function per kind of event."""

from __future__ import annotations

import json

from hyper.core.admission import Refusal
from hyper.ledger import LedgerError
from manifests.codec import load
from manifests.wire import Exchange
from tests.simulation.control import Answer, Question
from tests.simulation.oracle import demand
from tests.simulation.world import World


def ask(world: World) -> str:
    controller = world.controller
    if world.deposed and world.rng.random() < 0.3:
        controller = world.rng.choice(world.deposed)
    if controller is None:
        return ""
    controller.meet()
    free = [link for link in controller.sessions if link not in controller.open]
    if not free:
        return ""
    question = controller.ask(world.rng.choice(free))
    return send(world, question)


def send(world: World, question: Question) -> str:
    """Onto the wire: lost, or there once or twice."""
    fate = ""
    if world.faults.hit("question lost"):
        fate = ", lost"
    else:
        world.questions.append(question)
        if world.faults.hit("question doubled"):
            world.questions.append(question)
            fate = ", doubled"
    told = json.loads(question.text).get("assignment")
    what = f"assignment {told['generation']}" if told else "what is new"
    sender = question.sender.term
    return f"controller {sender} asks {question.link[0]} #{question.errand}: {what}{fate}"


def arrive(world: World) -> str:
    if not world.questions:
        return ""
    question = world.questions.pop(world.rng.randrange(len(world.questions)))
    return deliver(world, question)


def deliver(world: World, question: Question) -> str:
    node = world.by_address.get(question.link[1])
    head = f"question #{question.errand} reaches {question.link[0]}"
    if node is None or node.agent is None:
        return head + refuse(world, question, "connection refused")
    try:
        request = load(Exchange, json.loads(question.text))
        before = node.agent.assignment
        if node.agent.exchange(request):
            node.dirty = True
    except (Refusal, LedgerError) as error:
        return head + refuse(world, question, str(error))
    # Under another name, with nothing to run, an agent that has nothing starts afresh.
    same = before is not None and before.node == request.node
    old = before.term if before and same else 0
    demand(request.term >= old, f"S3: {node.host} takes the word of an old term")
    world.held.append(question)
    return head


def refuse(world: World, question: Question, error: str) -> str:
    world.answers.append(Answer(question, "", 0, error))
    return f": {error}"


def answer(world: World) -> str:
    if not world.held:
        return ""
    question = world.held.pop(world.rng.randrange(len(world.held)))
    reply = answered(world, question)
    if reply is None:
        return ""
    if world.faults.hit("answer lost"):
        return f"the answer to #{question.errand} is lost"
    world.answers += [reply] * (2 if world.faults.hit("answer doubled") else 1)
    return f"{question.link[0]} answers #{question.errand}"


def answered(world: World, question: Question) -> Answer | None:
    node = world.by_address[question.link[1]]
    if node.agent is None:
        return None
    world.taken += 1
    return Answer(question, world.report_text(node), world.taken)


def hear(world: World) -> str:
    if not world.answers:
        return ""
    return heard(world, world.answers.pop(world.rng.randrange(len(world.answers))))


def heard(world: World, reply: Answer) -> str:
    controller = reply.question.sender
    if controller is not world.controller and controller not in world.deposed:
        return ""
    controller.hear(reply, world.parsed(reply.text) if reply.text else None)
    return f"controller {controller.term} hears the answer to #{reply.question.errand}"


def give_up(world: World) -> str:
    controller = world.controller
    if controller is None or not controller.open:
        return ""
    link = world.rng.choice(list(controller.open))
    if world.rng.random() < 0.3:
        controller.cut_short(link)
        return f"controller {controller.term} has something newer for {link[0]}"
    controller.give_up(link)
    return f"controller {controller.term} gets no answer from {link[0]}"
