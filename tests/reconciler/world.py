"""A small control plane for tests: real store, real desk, real library; counted ids, a fake clock."""

import hashlib
import io
import itertools
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import httpx2

from manifests.kinds import Manifest, manifest_from
from manifests.kinds.machine import MachineSpec
from manifests.scalars import Name, Uid
from manifests.wire import Placement
from reconciler.api.app import make_app
from reconciler.api.auth import Tokens
from reconciler.api.deps import Deps
from reconciler.api.roles import Role
from reconciler.cluster import Cluster
from reconciler.core.desired import Change
from reconciler.core.model import Object
from reconciler.core.plan import Forget, Place, Plan, Release, Retire
from reconciler.core.wiring import placement_for
from reconciler.images import Library
from reconciler.signal import Signal
from reconciler.sources import Sources
from reconciler.store import Store
from reconciler.submit import Desk

ADMIN, AGENT = "admin-token-of-the-tests", "agent-token-of-the-tests"
OPERATOR, VIEWER = "operator-token-of-the-tests", "viewer-token-of-the-tests"
SECRETS = {
    Role.ADMIN: ADMIN,
    Role.OPERATOR: OPERATOR,
    Role.VIEWER: VIEWER,
    Role.AGENT: AGENT,
}
BYTES = b"the bytes of an image, raw"
SHA256 = hashlib.sha256(BYTES).hexdigest()


def uid(number: int) -> Uid:
    return Uid(f"{number:08x}-0000-4000-8000-{number:012x}")


def document(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "iaas/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def machine(name: str, **spec: Any) -> dict[str, Any]:
    return document("Machine", name, image="disk", **spec)


def image(name: str = "disk", sha256: str = SHA256) -> dict[str, Any]:
    return document("Image", name, type="libvirt", format="raw", sha256=sha256)


def node(name: str) -> dict[str, Any]:
    return document("Node", name, address=f"{name}.example:7701")


def manifest(data: dict[str, Any]) -> Manifest:
    return manifest_from(data)


def create(number: int, data: dict[str, Any], size: int = 0) -> Change:
    """`size`: of an image's bytes."""
    item = Object(
        uid=uid(number), source="api", manifest=manifest(data), created=float(number), size=size
    )
    return Change(key=item.key, before=None, after=item)


def wire(item: Object, epoch: int) -> Placement:
    disk = Object(uid=uid(0), source="api", manifest=manifest(image()), size=len(BYTES))
    return placement_for(item, disk, epoch)


def placing(item: Object, epoch: int, where: str = "node1") -> Place:
    assert isinstance(item.manifest.spec, MachineSpec)
    return Place(node=Name(where), spec=item.machine, wire=wire(item, epoch), reason="test")


def plan(*operations: Any) -> Plan:
    return Plan(tuple(operations))


class World:
    def __init__(
        self, root: Path, store: Store | None = None, image_sources: Sequence[Path] = ()
    ) -> None:
        self.store = store or Store()
        self.term = self.store.take_term()
        self.now = 1000.0
        self.secrets = dict(SECRETS)
        self.cluster = Cluster(self.store, Signal())
        self.library = Library(root / "images", reserve=0)
        numbers = itertools.count(1)
        self.desk = Desk(
            self.cluster,
            self.library,
            new_uid=lambda: uid(next(numbers)),
            clock=lambda: self.now,
            image_sources=image_sources,
        )
        self.sources = Sources(self.cluster, lambda: self.now)
        self.deps = Deps(
            cluster=self.cluster,
            desk=self.desk,
            library=self.library,
            clock=lambda: self.now,
            sources=self.sources,
            tokens=Tokens({role: partial(self.secrets.__getitem__, role) for role in self.secrets}),
        )
        self.app = make_app(self.deps)

    def upload(self, data: bytes = BYTES) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.library.put(digest, io.BytesIO(data), len(data))
        return digest

    def run(self, count: int) -> None:
        """Have so many machines placed on a node: m00, m01, ..."""
        self.upload()
        self.desk.apply([node("node1"), image(), *(machine(f"m{n:02}") for n in range(count))])
        self.place_all()

    def place_all(self) -> None:
        """Have every machine that has no place on the node."""
        snapshot = self.store.snapshot()
        placed = {item.uid for item in snapshot.placements}
        machines = [item for item in snapshot.of_kind("Machine") if item.uid not in placed]
        places = [placing(item, 1) for item in machines]
        self.store.commit(plan(*places), revision=snapshot.revision, term=self.term)

    def forget(self, name: str, kind: str = "Machine") -> None:
        """Have an object that is being deleted gone, with all that is placed of it."""
        snapshot = self.store.snapshot()
        item = snapshot.objects[kind, name]
        for step in (Retire, Release):
            snapshot = self.store.snapshot()
            steps = [
                step(name=item.name, uid=it.uid, epoch=it.epoch, node=it.node, reason="test")
                for it in snapshot.placements
                if it.uid == item.uid
            ]
            self.store.commit(plan(*steps), revision=snapshot.revision, term=self.term)
        gone = Forget(kind=kind, name=item.name, uid=item.uid, reason="test")
        revision = self.store.snapshot().revision
        self.store.commit(plan(gone), revision=revision, term=self.term)

    def client(self, token: str | None = ADMIN) -> httpx2.Client:
        """Without sockets, under wsgiref's validator."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx2.WSGITransport(app=validator(self.app))  # type: ignore[arg-type]
        return httpx2.Client(transport=transport, base_url="http://test", headers=headers)


def raw(app: Any, method: str, path: str, body: bytes = b"", **environ: Any) -> tuple[int, Any]:
    """(status, body) of a WSGI call with exactly this environment: for what no client would send."""
    return unchecked(validator(app), method, path, body, **environ)


def unchecked(
    app: Any, method: str, path: str, body: bytes = b"", **environ: Any
) -> tuple[int, Any]:
    """The same without the validator, for what it would not let through."""
    answer: list[Any] = []
    merged = {name: value for name, value in _environ(body, environ).items() if value is not None}
    merged |= {"REQUEST_METHOD": method, "PATH_INFO": path}
    parts = app(merged, lambda *heads: answer.append(heads) or _no)
    data = b"".join(parts)
    if hasattr(parts, "close"):
        parts.close()
    status, headers = answer[-1][:2]
    is_json = dict(headers).get("Content-Type") == "application/json"
    return int(status[:3]), json.loads(data) if data and is_json else data or None


def _environ(body: bytes, changes: dict[str, Any]) -> dict[str, Any]:
    return {
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "test",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_AUTHORIZATION": f"Bearer {ADMIN}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    } | changes


def _no(_: bytes) -> None:
    raise AssertionError("the old way of writing is not used")
