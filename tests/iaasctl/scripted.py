"""A small server of the reconciler's REST contract whose objects and answers a test writes down."""

import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

Json = Any
Answer = tuple[int, Json]


def machine(name: str, state: str = "running", **fields: Json) -> dict[str, Json]:
    data = {
        "id": f"id-{name}",
        "name": name,
        "image": "web",
        "type": "docker",
        "mem": 256,
        "cpus": 1,
        "node": "n1" if state != "pending" else None,
        "ports": ["8080:80/tcp"],
        "state": state,
        "reason": "",
        "created": 1_700_000_000.0,
        "ip": "172.17.0.2",
        "instance": "abc",
        "restarts": 0,
        "since": 1_700_000_000.0,
        "labels": {"app": "shop"},
        "source": "set:cluster",
        "generation": 1,
        "ready": state == "running",
        "spec": {"image": "web", "state": "running", "restart": {"policy": "always"}},
    }
    return data | fields


def node(name: str = "n1", state: str = "ready", **fields: Json) -> dict[str, Json]:
    data = {
        "name": name,
        "addr": "127.0.0.1:7701",
        "state": state,
        "reason": "",
        "capacity": {"cpus": 32, "mem": 4096},
        "used": {"cpus": 1.5, "mem": 512},
        "machines": 2,
        "drivers": [{"type": "docker", "ok": True, "detail": ""}],
        "foreign": [],
        "labels": {},
        "source": "set:cluster",
        "ready": state == "ready",
        "spec": {"address": "127.0.0.1:7701"},
    }
    return data | fields


def image(name: str = "web", **fields: Json) -> dict[str, Json]:
    data = {
        "id": f"id-{name}",
        "name": name,
        "type": "docker",
        "format": "docker-archive",
        "size": 2_100_000,
        "sha256": "a" * 64,
        "state": "ready",
        "machines": ["web1"],
        "source": "set:cluster",
        "ready": True,
        "spec": {"type": "docker"},
    }
    return data | fields


def line(action: str, kind: str, name: str, reason: str = "", **fields: Json) -> dict[str, Json]:
    return {"action": action, "kind": kind, "name": name, "reason": reason, "changes": []} | fields


class Server:
    """`steps` are functions that change the objects, one before each answer to a long poll.

    `fail` replaces the answer of a path; `requests` are (method, path, query, body).
    """

    def __init__(self) -> None:
        self.lists: dict[str, list[Json]] = {
            "nodes": [],
            "images": [],
            "machines": [],
            "events": [],
            "audit": [],
        }
        self.lines: list[Json] = []
        self.fail: dict[str, Answer] = {}
        self.steps: list[Callable[[], None]] = []
        self.blobs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, dict[str, str], Json]] = []
        self.revision = 1
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        query = dict(parse_qsl(environ["QUERY_STRING"]))
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        with self._lock:
            if method == "PUT":
                self.blobs[path.rpartition("/")[2]] = body
            self.requests.append(
                (method, path, query, json.loads(body) if method == "POST" else None)
            )
            status, data, headers = self._answer(method, path, query, environ)
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        start(
            f"{status} X",
            [("Content-Type", "application/json"), ("Content-Length", str(len(raw))), *headers],
        )
        return [] if method == "HEAD" or status == 304 else [raw]

    @property
    def posted(self) -> list[Json]:
        return [body for method, _, _, body in self.requests if method == "POST"]

    def _answer(
        self, method: str, path: str, query: dict[str, str], environ: dict[str, Any]
    ) -> tuple[int, Json, list[tuple[str, str]]]:
        if path in self.fail:
            return *self.fail[path], []
        if path.startswith("/iaas/blobs/"):
            known = path.rpartition("/")[2] in self.blobs
            return (200 if known else 404), {}, []
        if path == "/health":
            return 200, {"status": "ok", "version": "9.9"}, []
        if method == "POST":
            return 200, {"revision": 7, "changed": bool(self.lines), "lines": self.lines}, []
        return self._read(path.removeprefix("/iaas/"), query, environ)

    def _read(
        self, path: str, query: dict[str, str], environ: dict[str, Any]
    ) -> tuple[int, Json, list[tuple[str, str]]]:
        plural, _, name = path.partition("/")
        if environ.get("HTTP_IF_NONE_MATCH") == f'"{self.revision}"' and "HTTP_PREFER" in environ:
            if not self.steps:
                return 304, b"", []
            self.steps.pop(0)()
            self.revision += 1
        items = self.lists[plural]
        if name:
            found = [item for item in items if name in (item.get("name"), item.get("id"))]
            missing = {"error": "not_found", "message": f"there is no {plural[:-1]} {name!r}"}
            return (200, found[0], []) if found else (404, missing, [])
        if plural == "events" and "since" in query:
            items = [item for item in items if item["id"] > int(query["since"])]
        plain = {key: value for key, value in query.items() if key not in ("since", "limit")}
        items = [
            item
            for item in items
            if all(str(item.get(key)) == value for key, value in plain.items())
        ]
        return 200, items, [("ETag", f'"{self.revision}"')]
