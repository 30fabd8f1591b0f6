"""From the `given` of a scenario to a snapshot. Whatever a scenario does not say is the usual:

    nodes: {n1: {}}        ready, both engines answer, 16 cpus, 4Gi, reports what is placed there
    images: {app: {}}      for docker; `bytes` is the text whose digest it has, its name by default
                           `size` 0 and a `url`: not here yet; `fetch` is what is told of it
    machines: {web: {}}    of the image `app`; any field of the kind, and `deleting`
    placements: {web@1: n1}                as {node: n1}: active, of the machine as it is desired,
        {web@1: {node: n1, stage: leaving, was: {memory: 1Gi}, bytes: old, since: 2}}
    gone: {web@1: n1}      confirmed gone

A node besides its spec: `state`, `error`, `silent` (never reported), `generation` of its report (1),
`engines` (by type what is wrong with it, "" nothing), `shows` (`[web@1, web@1 failed]`), `listens`
(`{80/tcp: nginx}`), `foreign` (containers and their ports, `{blog: [80/tcp]}`).
A placement was last changed in generation `since` (1).
"""

import hashlib
import uuid
from typing import Any

from manifests.codec import dump, load
from manifests.kinds import KINDS, Manifest
from manifests.kinds.image import MachineType
from manifests.scalars import Cpus, Memory, Name, Protocol, Uid
from manifests.wire import DriverReport, Foreign, Listener, MachineReport, Phase, Report
from reconciler.core.model import (
    Fetch,
    FetchState,
    NodeState,
    Object,
    Placed,
    Seen,
    Snapshot,
    Stage,
)
from reconciler.core.wiring import placement_for

Data = dict[str, Any]

ENGINES = {"docker": "", "libvirt": ""}
CLUSTER = Uid(uuid.UUID(int=0))


def snapshot(given: Data) -> Snapshot:
    unknown = given.keys() - {"nodes", "images", "machines", "placements", "gone"}
    assert not unknown, f"a scenario knows nothing of {unknown}"
    images = {name: image(name, **(more or {})) for name, more in _of(given, "images", "app")}
    machines = {name: machine(name, **(more or {})) for name, more in _of(given, "machines")}
    placements = [
        placement(instance, machines, images, **_where(more))
        for instance, more in _of(given, "placements")
    ]
    nodes = {name: dict(more or {}) for name, more in _of(given, "nodes", "n1")}
    seen = {name: sighting(name, more, placements) for name, more in nodes.items()}
    declared = [node(name, **more) for name, more in nodes.items()]
    objects = [*declared, *images.values(), *machines.values()]
    return Snapshot(
        revision=1,
        cluster=CLUSTER,
        objects={item.key: item for item in objects},
        placements=tuple(placements),
        gone={(where, parts(name)[0]): parts(name)[1] for name, where in _of(given, "gone")},
        generations=dict.fromkeys(nodes, 1),
        seen={name: known for name, known in seen.items() if known},
        fetches=fetches(given),
    )


def _of(given: Data, what: str, default: str = "") -> list[tuple[str, Any]]:
    found = given.get(what, {default: {}} if default else {})
    return list((found or {}).items())


def uid(name: str) -> Uid:
    """The same for the same name."""
    return Uid(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def parts(instance: str) -> tuple[Uid, int]:
    name, _, epoch = instance.partition("@")
    return uid(name), int(epoch)


def declared(kind: str, name: str, spec: Data, *, deleting: bool = False, size: int = 0) -> Object:
    manifest = Manifest(kind=kind, name=Name(name), spec=load(KINDS[kind].spec, spec))
    return Object(uid=uid(name), source="test", manifest=manifest, deleting=deleting, size=size)


def image(name: str, *, bytes: str = "", type: str = "docker", **more: Any) -> Object:
    digest = hashlib.sha256((bytes or name).encode()).hexdigest()
    deleting, size = more.pop("deleting", False), more.pop("size", 1000)
    more.pop("fetch", None)
    spec = {"type": type, "sha256": digest, **more}
    return declared("Image", name, spec, deleting=deleting, size=size)


def fetches(given: Data) -> dict[str, Fetch]:
    said = {name: (more or {}).get("fetch") for name, more in _of(given, "images", "app")}
    return {
        uid(name): Fetch(FetchState(words.partition(" ")[0]), words.partition(" ")[2])
        for name, words in said.items()
        if words
    }


def machine(name: str, *, deleting: bool = False, **spec: Any) -> Object:
    return declared("Machine", name, {"image": "app", **spec}, deleting=deleting)


def node(name: str, *, deleting: bool = False, spec: Data | None = None, **_: Any) -> Object:
    address = {"address": f"{name}.example:7701"}
    return declared("Node", name, address | (spec or {}), deleting=deleting)


def _where(more: str | Data) -> Data:
    return {"node": more} if isinstance(more, str) else more


def placement(
    instance: str,
    machines: dict[str, Object],
    images: dict[str, Object],
    *,
    node: str,
    stage: str = "active",
    was: Data | None = None,
    bytes: str = "",
    since: int = 1,
) -> Placed:
    """`was` is what its machine's spec was when it differs from now; null for "not set"."""
    name, epoch = instance.partition("@")[0], parts(instance)[1]
    now = machines[name].machine if name in machines else machine(name).machine
    spec = {key: value for key, value in (dump(now) | (was or {})).items() if value is not None}
    made = declared("Machine", name, spec)
    of = images[spec["image"]]
    source = image(of.name, bytes=bytes, type=of.image.type) if bytes else of
    wire = placement_for(made, source, epoch)
    return Placed(
        node=Name(node), stage=Stage(stage), spec=made.machine, wire=wire, generation=since
    )


def sighting(name: str, more: Data, placements: list[Placed]) -> Seen | None:
    state = NodeState(more.pop("state", "joining" if more.get("silent") else "ready"))
    if more.pop("silent", False):
        more.pop("shows", None)
        return Seen(state, None, more.pop("error", ""))
    here = [placed for placed in placements if placed.node == name]
    usual = [f"{placed.wire.name}@{placed.epoch}" for placed in here]
    shows = more.pop("shows", usual) or ()
    report = Report(
        node=Name(name),
        boot="boot",
        revision=1,
        generation=more.pop("generation", 1),
        cpus=Cpus(16000),
        memory=Memory(4096),
        drivers=tuple(
            DriverReport(type=MachineType(type_), ok=not trouble, detail=trouble)
            for type_, trouble in (more.pop("engines", ENGINES) or {}).items()
        ),
        machines=tuple(shown(text) for text in shows),
        listeners=tuple(listener(*item) for item in more.pop("listens", {}).items()),
        foreign=tuple(
            Foreign(type=MachineType.DOCKER, name=name, ports=tuple(ports))
            for name, ports in more.pop("foreign", {}).items()
        ),
    )
    return Seen(state, report, more.pop("error", ""))


def shown(text: str) -> MachineReport:
    instance, _, phase = text.partition(" ")
    uid_, epoch = parts(instance)
    name = f"iaas-{instance.partition('@')[0]}"
    return MachineReport(uid=uid_, epoch=epoch, phase=Phase(phase or "running"), instance=name)


def listener(port: str, process: str) -> Listener:
    number, _, protocol = port.partition("/")
    return Listener(protocol=Protocol(protocol), port=int(number), process=process)
