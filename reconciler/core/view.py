"""Objects as the API shows them: the lab's fields, and what explains them."""

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from manifests.codec import dump
from manifests.kinds.image import ImageSpec
from manifests.kinds.node import PublisherKind
from manifests.problem import SECRET
from reconciler.core.images import ImageState, image_status
from reconciler.core.model import UNSEEN, Object, Placed, Snapshot, newest
from reconciler.core.onnodes import Found, images_on_nodes, shown_on_node
from reconciler.core.status import machine_status, node_status

Json = dict[str, Any]

PUBLISHERS = {
    PublisherKind.NFTABLES: "",
    PublisherKind.PWNCAT: "one client of a VM's port at a time, and two in a row may read each other's"
    " data: for the lab only",
}
"""What must be known of how a node publishes ports of VMs."""


MASK = "***"


def views(snapshot: Snapshot, kind: str, *, secrets: bool) -> list[Json]:
    """All objects of a kind, by name. Without `secrets`, values that may be one are masked."""
    return _Viewer(snapshot, secrets).views(snapshot.of_kind(kind))


def view(snapshot: Snapshot, item: Object, *, secrets: bool) -> Json:
    return _Viewer(snapshot, secrets).views((item,))[0]


class _Viewer:
    """Looks up once for all objects of one answer what belongs to each: there may be thousands."""

    def __init__(self, snapshot: Snapshot, secrets: bool) -> None:
        self.snapshot = snapshot
        self.secrets = secrets
        self.placed = newest(snapshot.placements)

    @cached_property
    def here(self) -> dict[str, list[Placed]]:
        """By node."""
        found = defaultdict(list)
        for placed in self.placed.values():
            found[str(placed.node)].append(placed)
        return found

    @cached_property
    def users(self) -> dict[str, list[str]]:
        """Names of machines, by their image."""
        found = defaultdict(list)
        for machine in self.snapshot.of_kind("Machine"):
            found[str(machine.machine.image)].append(str(machine.name))
        return found

    @cached_property
    def images(self) -> dict[str, list[Found]]:
        return images_on_nodes(self.snapshot)

    def views(self, items: Iterable[Object]) -> list[Json]:
        make = {"Machine": self.machine, "Node": self.node, "Image": self.image}
        return [make[item.manifest.kind](item) | self.common(item) for item in items]

    def common(self, item: Object) -> Json:
        spec = dump(item.manifest.spec)
        return {
            "created": item.created,
            "labels": dict(item.manifest.labels),
            "source": item.source,
            "generation": item.generation,
            "spec": spec if self.secrets else masked(spec),
        }

    def machine(self, item: Object) -> Json:
        spec, placed = item.machine, self.placed.get(item.uid)
        status = machine_status(self.snapshot, item, placed)
        report = status.report
        image = self.snapshot.get("Image", spec.image)
        type_ = placed.wire.type if placed else spec.type or (image.image.type if image else None)
        return {
            "id": item.uid,
            "name": item.name,
            "image": spec.image,
            "type": type_,
            "mem": int(spec.memory),
            "cpus": dump(spec.cpus),
            "node": placed.node if placed else spec.node,
            "ports": dump(spec.ports),
            "state": status.state,
            "reason": status.reason,
            "ready": status.ready,
            "final": status.final,
            "ip": report.ip if report else "",
            "instance": report.instance if report else "",
            "restarts": report.restarts if report else 0,
            "exitCode": report.exit_code if report else None,
            "since": report.since if report else None,
        }

    def node(self, item: Object) -> Json:
        state, reason = node_status(self.snapshot, item)
        report = self.snapshot.seen.get(item.name, UNSEEN).report
        here = self.here.get(item.name, [])
        capacity = item.node.capacity
        return {
            "id": item.uid,
            "name": item.name,
            "addr": item.node.address,
            "state": state,
            "reason": reason,
            "ready": state == "ready",
            "capacity": {
                "cpus": dump(capacity.cpus or (report.cpus if report else None)),
                "mem": capacity.memory or (report.memory if report else None),
            },
            "used": {
                "cpus": sum(placed.wire.cpus for placed in here) / 1000,
                "mem": sum(placed.wire.memory for placed in here),
            },
            "machines": len(here),
            "drivers": [
                {"type": driver.type, "ok": driver.ok, "detail": driver.detail}
                for driver in (report.drivers if report else ())
            ],
            "publisher": item.node.publisher,
            "publisherDetail": PUBLISHERS[item.node.publisher],
            "foreign": [
                {"type": found.type, "name": found.name, "ports": list(found.ports)}
                for found in (report.foreign if report else ())
            ],
            "listeners": [
                {"protocol": found.protocol, "port": found.port, "process": found.process}
                for found in (report.listeners if report else ())
            ],
            "version": report.version if report else "",
        }

    def image(self, item: Object) -> Json:
        spec, status = item.image, image_status(self.snapshot, item)
        return {
            "id": item.uid,
            "name": item.name,
            "type": spec.type,
            "format": spec.resolved_format,
            "size": item.size,
            "sha256": spec.digest,
            "origin": _origin(spec),
            "state": status.state,
            "reason": status.reason,
            "ready": status.state is ImageState.READY,
            "machines": self.users.get(item.name, []),
            "nodes": [shown_on_node(*it) for it in self.images.get(str(spec.digest), [])],
        }


def masked(spec: Json) -> Json:
    """A spec without what may be a secret: what machines are given, and signatures in addresses."""
    return {name: _masked(name, value) for name, value in spec.items()}


def masked_line(line: Json) -> Json:
    """Likewise, a line of a plan."""
    changes = [
        change | {when: _masked(change["field"], change[when]) for when in ("old", "new")}
        for change in line.get("changes", ())
    ]
    return line | {"changes": changes} if changes else line


def _masked(field: str, value: Any) -> Any:
    if field in SECRET:
        return dict.fromkeys(value, MASK) if isinstance(value, dict) else [MASK for _ in value]
    if field == "url" and value and "?" in value:
        return f"{value.partition('?')[0]}?{MASK}"
    return value


def _origin(spec: ImageSpec) -> str:
    """Where the bytes came from."""
    return (spec.url.shown if spec.url else "") or spec.registry or spec.file or ""
