"""Placements, instances and cases for tests of the agent: whatever is not said is the usual."""

import uuid
from typing import Any

from hyper.core.backoff import FRESH
from hyper.core.converge import Case
from hyper.core.model import Instance, Life
from manifests.kinds.image import FORMATS, MachineType
from manifests.scalars import Cpus, Memory, Name, Port, Sha256, Uid
from manifests.wire import Assignment, Exchange, ImageRef, Placement, Tombstone

CLUSTER = Uid("00000000-0000-4000-8000-000000000000")
OTHER = Uid("00000000-0000-4000-8000-00000000000f")
DOCKER, LIBVIRT = MachineType.DOCKER, MachineType.LIBVIRT


def uid(name: str) -> Uid:
    return Uid(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def image(byte: str = "a", type_: MachineType = DOCKER) -> ImageRef:
    return ImageRef(sha256=Sha256(byte * 64), format=FORMATS[type_][0], size=1)


def placement(name: str = "web", epoch: int = 1, **more: Any) -> Placement:
    type_ = more.setdefault("type", DOCKER)
    usual: dict[str, Any] = {
        "uid": uid(name),
        "epoch": epoch,
        "name": Name(name),
        "image": image(type_=type_),
        "memory": Memory(256),
        "cpus": Cpus(1000),
        "digest": "d" * 64,
    }
    return Placement(**usual | more)


def instance(name: str = "web", epoch: int = 1, **more: Any) -> Instance:
    """Running, as `placement` wants it."""
    usual: dict[str, Any] = {
        "uid": uid(name),
        "epoch": epoch,
        "type": DOCKER,
        "handle": f"{name}-{epoch}",
        "name": f"iaas-{name}",
        "life": Life.RUNNING,
        "digest": "d" * 64,
        "memory": Memory(256),
        "cpus": Cpus(1000),
        "ran": True,
    }
    return Instance(**usual | more)


def case(**more: Any) -> Case:
    usual: dict[str, Any] = {
        "placement": placement(),
        "instance": None,
        "history": FRESH,
        "halted": False,
        "image_ready": True,
        "image_trouble": FRESH,
        "image_makes_room": False,
        "live": True,
        "now": 100.0,
    }
    return Case(**usual | more)


def assignment(*run: Placement, generation: int = 1, **more: Any) -> Assignment:
    """`leaving` takes (name, epoch), and the engine where it is another than Docker."""
    leaving = tuple(Tombstone(uid(name), *rest) for name, *rest in more.pop("leaving", ()))
    usual: dict[str, Any] = {"cluster": CLUSTER, "term": 1, "node": Name("n1")}
    return Assignment(generation=generation, run=run, leaving=leaving, **usual | more)


def exchange(told: Assignment | None = None, **more: Any) -> Exchange:
    usual: dict[str, Any] = {
        "cluster": told.cluster if told else CLUSTER,
        "term": told.term if told else 1,
        "node": told.node if told else Name("n1"),
        "assignment": told,
    }
    return Exchange(**usual | more)


def port(text: str) -> Port:
    return Port.from_json(text)
