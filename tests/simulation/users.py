"""Users at the API: they apply, prune, delete, make again, lose answers and retry. What they are told
is held against the store."""

from __future__ import annotations

import io
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manifests.kinds import document_of, manifest_from
from reconciler.core.model import Object, Snapshot
from tests.simulation import documents as docs
from tests.simulation.control import ADMIN
from tests.simulation.documents import Document
from tests.simulation.faults import Crashed
from tests.simulation.oracle import demand

if TYPE_CHECKING:
    from tests.simulation.control import Controller
    from tests.simulation.world import World

API, TEAM = "api", "team"
STATUS_OF_FULL_DISK = (503, 507)


@dataclass(slots=True)
class Request:
    """What a user sends; `deletes` has the keys that it names for deletion."""

    method: str
    path: str
    body: Any = None
    deletes: tuple[tuple[str, str], ...] = ()

    @property
    def documents(self) -> list[Document]:
        return list(self.body["documents"]) if self.body and "documents" in self.body else []


def call(app: Any, request: Request, token: str = ADMIN) -> tuple[int, bytes]:
    """One WSGI call; the status and the body."""
    data = json.dumps(request.body).encode() if request.body is not None else b""
    path, _, query = request.path.partition("?")
    environ = {
        "REQUEST_METHOD": request.method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": query,
        "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(data)),
        "SERVER_NAME": "controller.lab", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(data),
        "wsgi.errors": io.StringIO(), "wsgi.multithread": False, "wsgi.multiprocess": False,
        "wsgi.run_once": False, "HTTP_AUTHORIZATION": f"Bearer {token}",
    }  # fmt: skip
    status: list[str] = []
    parts = app(environ, lambda line, headers, exc=None: status.append(line))
    body = b"".join(parts)
    if hasattr(parts, "close"):
        parts.close()
    return int(status[-1][:3]), body


class Users:
    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.retries: list[Request] = []

    # -- what they want

    def first(self) -> list[Request]:
        """The cluster as it is set up: by one user, and half of the machines by a team's set."""
        rng = self.rng
        nodes = [docs.node(f"n{i}", host.address) for i, host in enumerate(self.world.nodes, 1)]
        images = [docs.image(rng, name) for name in docs.IMAGES]
        names = rng.sample(docs.MACHINES, rng.randint(4, 8))
        machines = docs.unpinned([docs.machine(rng, name) for name in names])
        half = len(machines) // 2
        return [apply(API, nodes + images + machines[:half]), apply(TEAM, machines[half:], True)]

    def next(self, snapshot: Snapshot) -> Request | None:
        if self.retries and self.rng.random() < 0.7:
            return self.retries.pop(0)
        ((wish, _),) = self.rng.choices(WISHES, [weight for _, weight in WISHES])
        return wish(self, snapshot)

    def change(self, snapshot: Snapshot) -> Request | None:
        found = [it for it in snapshot.of_kind("Machine") if not it.deleting]
        if not found:
            return None
        source = self.rng.choice(found).source
        mine = [it for it in found if it.source == source]
        some = self.rng.sample(mine, min(len(mine), self.rng.choice((1, 1, 2, 3))))
        return apply(source, [docs.varied(self.rng, document_of(it.manifest)) for it in some])

    def create(self, snapshot: Snapshot) -> Request | None:
        free = [name for name in docs.MACHINES if ("Machine", name) not in snapshot.objects]
        names = self.rng.sample(free, min(len(free), self.rng.choice((1, 1, 2))))
        made = [docs.machine(self.rng, name) for name in names]
        return apply(self.rng.choice((API, TEAM)), made) if made else None

    def again(self, snapshot: Snapshot) -> Request | None:
        """A machine of the same name as one that goes, before it is gone: refused until then."""
        going = [it for it in snapshot.of_kind("Machine") if it.deleting]
        if not going:
            return self.create(snapshot)
        it = self.rng.choice(going)
        return apply(it.source, [docs.machine(self.rng, it.name)])

    def prune(self, snapshot: Snapshot) -> Request | None:
        """A team's whole set, with some left out and some changed."""
        mine = [it for it in snapshot.objects.values() if it.source == TEAM and not it.deleting]
        kept = [it for it in sorted(mine, key=lambda it: it.key) if self.rng.random() < 0.75]
        return apply(TEAM, [self._maybe_varied(it) for it in kept], True)

    def _maybe_varied(self, it: Object) -> Document:
        plain = document_of(it.manifest)
        return docs.varied(self.rng, plain) if self.rng.random() < 0.3 else plain

    def delete(self, snapshot: Snapshot) -> Request | None:
        names = [it.name for it in snapshot.of_kind("Machine")]
        if not names:
            return None
        if self.rng.random() < 0.5:
            name = self.rng.choice(names)
            return Request("DELETE", f"/iaas/machines/{name}", deletes=(("Machine", name),))
        some = self.rng.sample(names, min(2, len(names)))
        body = {"objects": [{"kind": "Machine", "name": name} for name in some]}
        keys = tuple(("Machine", str(name)) for name in some)
        return Request("POST", "/iaas/delete", body, keys)

    def rebuild(self, snapshot: Snapshot) -> Request | None:
        """An image gets other bytes: all that start from it are replaced."""
        found = [it for it in snapshot.of_kind("Image") if not it.deleting]
        image = self.rng.choice(found)
        return apply(image.source, [docs.image(self.rng, image.name)])

    def remove_node(self, snapshot: Snapshot) -> Request | None:
        found = [it.name for it in snapshot.of_kind("Node")]
        if len(found) < 2:
            return None
        name = self.rng.choice(found)
        return Request("DELETE", f"/iaas/nodes/{name}", deletes=(("Node", name),))

    def add_node(self, snapshot: Snapshot) -> Request | None:
        """Hosts without a node are added, perhaps under another name; or a node's capacity changes."""
        # Two nodes at one address would be one agent with two names; a user's mistake.
        used = {it.node.address for it in snapshot.of_kind("Node")}
        for number, host in enumerate(self.world.nodes, 1):
            name = self.rng.choice((f"n{number}", f"n{number}", f"n{number}x"))
            if host.address not in used and ("Node", name) not in snapshot.objects:
                return apply(API, [docs.node(name, host.address)])
        found = [it for it in snapshot.of_kind("Node") if not it.deleting]
        if not found:
            return None
        document = document_of(self.rng.choice(found).manifest)
        document["spec"]["capacity"] = self.rng.choice(({}, {"memory": "512Mi"}, {"cpus": 4}))
        return apply(API, [document])

    def repeat(self, snapshot: Snapshot) -> Request | None:
        """The whole set once more, as it is."""
        source = self.rng.choice((API, TEAM))
        mine = [it for it in snapshot.objects.values() if it.source == source and not it.deleting]
        return apply(source, [document_of(it.manifest) for it in mine], True)

    # -- what they are told

    def send(self, controller: Controller, request: Request) -> str:
        before = controller.store.snapshot()
        try:
            status, body = call(controller.app, request)
        except Crashed:
            self.world.controller_crashed(controller)
            self.retries.append(request)
            after = self.world.stored()
            self._judge_unknown(request, before, after)
            self.world.oracle.settle(after)
            return "the controller crashed meanwhile"
        after = controller.store.snapshot()
        self._judge(request, status, body, before, after)
        self.world.oracle.settle(after)
        if self.world.faults.hit("client answer lost") or status in STATUS_OF_FULL_DISK:
            self.retries.append(request)
        if status == 409 and b'"braked"' in body and self.rng.random() < 0.5:
            return f"{status}, approves: " + self.send(controller, approved(request))
        return str(status)

    def _judge(
        self, request: Request, status: int, body: bytes, before: Snapshot, after: Snapshot
    ) -> None:
        text = body.decode()[:500]
        full = self.world.store_full
        demand(status < 500 or (full and status in STATUS_OF_FULL_DISK), f"S5: {status} {text}")
        known = status in (200, 202, 409) or status >= 500 or (request.deletes and status == 404)
        known = known or (status == 422 and "is already used by machine" in text)
        demand(bool(known), f"API: {status} {text}")
        if status >= 400:
            demand(before.objects == after.objects, f"S5: {status}, and something changed: {text}")
            return
        self._judge_done(request, before, after)

    def _judge_unknown(self, request: Request, before: Snapshot, after: Snapshot) -> None:
        if before.objects != after.objects:
            self._judge_done(request, before, after)

    def _judge_done(self, request: Request, before: Snapshot, after: Snapshot) -> None:
        named = set(request.deletes)
        source = request.body.get("source") if request.body else None
        prune = bool(request.body and request.body.get("prune"))
        same = not request.deletes and not prune
        for document in request.documents:
            manifest = manifest_from(document)
            named.add(manifest.key)
            item, old = after.objects.get(manifest.key), before.objects.get(manifest.key)
            right = item is not None and item.manifest == manifest and item.source == source
            demand(right, f"S4: acknowledged, but {manifest.key} is not stored")
            same = same and old is not None and old.manifest == manifest
        for key in request.deletes:
            item = after.objects.get(key)
            demand(item is None or item.deleting, f"S4: {key} is not being deleted")
        demand(
            not same or after.revision == before.revision, "S6: nothing changed but the revision"
        )
        for key, old in before.objects.items():
            if key not in named:
                pruned = prune and old.source == source
                now = after.objects.get(key)
                right = now is not None and now.deleting if pruned else now == old
                demand(right, f"S5: {key} was changed by a submission that does not name it")
        demand(after.objects.keys() <= before.objects.keys() | named, "S5: made what nobody named")


def apply(source: str, documents: list[Document], prune: bool = False) -> Request:
    body = {"source": source, "documents": documents, "prune": prune}
    return Request("POST", "/iaas/apply", body)


def approved(request: Request) -> Request:
    if request.method == "DELETE":
        return Request("DELETE", f"{request.path}?approve=true", None, request.deletes)
    return Request(request.method, request.path, request.body | {"approve": True}, request.deletes)


WISHES = (
    (Users.change, 8),
    (Users.create, 2),
    (Users.again, 1),
    (Users.prune, 2),
    (Users.delete, 3),
    (Users.rebuild, 1),
    (Users.remove_node, 1),
    (Users.add_node, 2),
    (Users.repeat, 1),
)
