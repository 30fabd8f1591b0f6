"""The API's description: whole, valid, and what real answers of every route are held to."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
import referencing
from referencing.jsonschema import DRAFT202012

from manifests.problem import Problem
from reconciler.api import openapi
from reconciler.api.app import ROUTES
from reconciler.api.route import Operation, operations
from reconciler.api.schemas import SCHEMAS
from reconciler.core.explain import Action, PlanLine
from reconciler.core.sources import Source, State
from tests.reconciler.looping import looping
from tests.reconciler.world import BYTES, SHA256, VIEWER, World, image, machine

DOCUMENT = openapi.document(ROUTES)
OPERATIONS = {operation.about.name: operation for operation in operations(ROUTES)}


def test_every_route_is_described(world: World) -> None:
    answer = world.client(token=None).get("/openapi.json")
    assert answer.json() == json.loads(json.dumps(DOCUMENT))
    described = {(path, method) for path, item in DOCUMENT["paths"].items() for method in item}
    assert described == {(item.path, item.route.method.lower()) for item in operations(ROUTES)}
    assert len(described) == len(OPERATIONS), "two operations have one name"
    for operation in OPERATIONS.values():
        assert operation.about.summary.endswith("."), operation.path
        declared = {item.name for item in operation.about.parameters if item.place == "path"}
        assert declared == set(operation.path.split("{")[1:2] and [_variable(operation.path)])


def _variable(path: str) -> str:
    return path.partition("{")[2].partition("}")[0]


def test_the_document_is_openapi_3_1() -> None:
    """By jsonschema-rs' meta schema, which schemathesis brings: jsonschema has none of OpenAPI."""
    import schemathesis

    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.validate()
    assert schema.specification.version == "3.1.0"
    assert sum(1 for _ in schema.get_all_operations()) == len(OPERATIONS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas_and_refer_to_what_there_is(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])


def test_every_reference_leads_somewhere() -> None:
    found = set(_references(DOCUMENT))
    assert found <= {f"#/components/schemas/{name}" for name in SCHEMAS}
    unused = set(SCHEMAS) - {reference.rpartition("/")[2] for reference in found}
    assert unused == set()


def _references(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        if isinstance(reference := data.get("$ref"), str):
            yield reference
        for value in data.values():
            yield from _references(value)
    elif isinstance(data, list):
        for value in data:
            yield from _references(value)


# -- real answers ------------------------------------------------------------------------------------

REGISTRY: Any = referencing.Registry().with_resource(
    "urn:api", referencing.Resource(contents=DOCUMENT, specification=DRAFT202012)
)


def held(operation: Operation, answer: httpx2.Response) -> None:
    """Raises where the answer is not as the description has it."""
    answers = DOCUMENT["paths"][operation.path][operation.route.method.lower()]["responses"]
    assert str(answer.status_code) in answers, (answer.status_code, answer.text)
    described = answers[str(answer.status_code)]
    assert set(described.get("headers", ())) <= {name.title() for name in answer.headers} | {"ETag"}
    assert ("ETag" in described.get("headers", ())) == ("etag" in answer.headers)
    if "content" not in described:
        assert answer.content == b""
        return
    ((media, content),) = described["content"].items()
    assert answer.headers["content-type"] == media
    if "schema" in content:
        pointer = f"/paths/{operation.path.replace('/', '~1')}/{operation.route.method.lower()}"
        pointer += f"/responses/{answer.status_code}/content/{media.replace('/', '~1')}/schema"
        reference = {"$ref": f"urn:api#{pointer}".replace("{", "%7B").replace("}", "%7D")}
        validator: Any = jsonschema.Draft202012Validator
        validator(reference, registry=REGISTRY, format_checker=validator.FORMAT_CHECKER).validate(
            answer.json()
        )


class Client:
    """Asks operations by their names, holds every answer to the description, and counts."""

    def __init__(self, world: World) -> None:
        self.client = world.client()
        self.seen: set[tuple[str, int]] = set()

    def ask(self, name: str, status: int, path: str = "", **request: Any) -> httpx2.Response:
        operation = OPERATIONS[name]
        where = operation.path.partition("{")[0] + path
        answer = self.client.request(operation.route.method, where, **request)
        assert answer.status_code == status, answer.text
        held(operation, answer)
        self.seen.add((name, status))
        return answer

    def no_news(self, name: str, path: str = "") -> None:
        """Asks until the loop has come to rest."""
        for _ in range(100):
            tag = self.ask(name, 200, path).headers["etag"]
            with suppress(AssertionError):
                self.ask(name, 304, path, headers={"If-None-Match": tag})
                return
        raise AssertionError("there are always news")


def test_real_answers_of_every_route_are_as_described(world: World, tmp_path: Path) -> None:
    """All that every route can answer when it succeeds, and one of its errors."""
    slow = World(tmp_path / "slow")
    slow.run(1)
    client = Client(slow)
    slow_goings(client)
    with looping(world):
        client.client = world.client()
        for scene in (uploads, lab_routes, sets, elsewhere):
            scene(client)
        world.sources.put(WAITING)
        watched(client)
        masked(client)
        world.store.database._failure = "disk I/O error"
        client.ask("health", 503)
    described = {(name, code) for name, item in OPERATIONS.items() for code in item.about.answers}
    assert described - client.seen == set()
    failed = {name for name, status in client.seen if status >= 400}
    assert {name for name in OPERATIONS if name != "describe"} - failed == set()


def uploads(client: Client) -> None:
    client.ask("getBlob", 404, SHA256)
    client.ask("putBlob", 400, "x", content=b"x")
    half, total = len(BYTES) // 2, {"Upload-Length": str(len(BYTES))}
    client.ask("putBlob", 202, SHA256, content=BYTES[:half], headers=total)
    rest = {"Upload-Offset": str(half)}
    client.ask("putBlob", 201, SHA256, content=BYTES[half:], headers=rest)
    client.ask("putBlob", 200, SHA256, content=BYTES)
    client.ask("getBlob", 200, SHA256)
    client.ask("getBlob", 206, SHA256, headers={"Range": "bytes=5-"})
    client.ask("getBlob", 416, SHA256, headers={"Range": "bytes=99-"})


def lab_routes(client: Client) -> None:
    new = {
        "Node": {"name": "n1", "addr": "h:7701"},
        "Image": {"name": "disk", "format": "raw", "sha256": SHA256},
        "Machine": {"name": "web", "image": "disk", "ports": ["8080:80"], "labels": {"a": "b"}},
    }
    for kind, data in new.items():
        path = str(data["name"])
        client.ask(f"create{kind}", 422, json=data | {"nonsense": 1})
        client.ask(f"create{kind}", 201, json=data)
        client.ask(f"create{kind}", 409, json=data)
        client.no_news(f"get{kind}", path)
        client.ask(f"get{kind}", 404, "nope")
        client.no_news(f"list{kind}s", "?query=name=" + path)
        client.ask(f"list{kind}s", 400, "?nonsense=1")
    client.ask("setMachineState", 200, "web", json={"state": "stopped"})
    client.ask("setMachineState", 422, "web", json={"state": "paused"})
    stale = {"If-Match": '"x"'}
    client.ask("setMachineState", 412, "web", json={"state": "running"}, headers=stale)
    client.ask("deleteImage", 409, "disk")
    for kind, data in reversed(new.items()):
        client.ask(f"delete{kind}", 412, str(data["name"]), headers=stale)
        client.ask(f"delete{kind}", 204, str(data["name"]))


def sets(client: Client) -> None:
    documents = [image(), machine("web"), {"apiVersion": "iaas/v1", "kind": "Pod"}]
    client.ask("apply", 422, json={"documents": documents})
    client.ask("apply", 200, json={"documents": documents[:2]})
    client.ask("apply", 200, "?dryRun=true", json={"documents": [machine("web", cpus=2)]})
    client.ask("delete", 409, json={"objects": [{"kind": "Node", "name": "nope"}]})
    client.ask("delete", 200, json={"objects": [{"kind": "Machine", "name": "web"}]})
    client.no_news("listEvents")
    client.ask("listEvents", 400, "?limit=x")


def elsewhere(client: Client) -> None:
    client.ask("health", 200)
    client.ask("health", 400, "?x=1")
    client.ask("describe", 200)


PROBLEM = Problem(file="a.yaml", line=1, column=2, field="kind", message="missing", hint="add it")
WAITING = Source(
    name="dir:shop",
    path="/shop",
    kind="git",
    state=State.WAITING,
    digest="d1",
    problems=(PROBLEM,),
    lines=(PlanLine(action=Action.DELETE, kind="Machine", name="web"),),
    notes=("a note",),
)


def watched(client: Client) -> None:
    client.no_news("listSources")
    client.ask("listSources", 400, "?x=1")
    client.no_news("getSource", "dir:shop")
    client.ask("getSource", 404, "dir:other")
    client.ask("approveSource", 409, "dir:shop/approve", json={"digest": "d2"})
    client.ask("approveSource", 202, "dir:shop/approve", json={"digest": "d1"})
    client.ask("listAudit", 200)
    client.ask("listAudit", 400, "?limit=x")


def masked(client: Client) -> None:
    """What viewers see of secrets has the same form."""
    env = {"image": "app", "env": {"A": "b"}, "command": ["serve"], "name": "secret"}
    url = {"name": "far", "format": "raw", "sha256": SHA256, "url": "https://h.example/i?sig=x"}
    client.ask("createImage", 201, json={"name": "app", "registry": f"nginx@sha256:{SHA256}"})
    client.ask("createImage", 201, json=url)
    client.ask("createMachine", 201, json=env)
    client.client.headers["Authorization"] = f"Bearer {VIEWER}"
    for kind, name in (("Machine", "secret"), ("Image", "far")):
        assert "***" in client.ask(f"get{kind}", 200, name).text
        assert "***" in client.ask(f"list{kind}s", 200).text
    client.ask("deleteMachine", 403, "secret")


def slow_goings(client: Client) -> None:
    """Nobody carries plans out here, so everything waits."""
    client.ask("deleteMachine", 202, "m00")
    client.ask("deleteNode", 202, "node1")
    client.ask("deleteImage", 202, "disk")
