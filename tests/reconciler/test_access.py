"""Who may do what: every route for every caller, and what is checked on the merged result."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manifests.change import Effect, FieldChange
from manifests.kinds import KINDS
from reconciler.api.app import ROUTES, Route
from reconciler.api.roles import MAY_CHANGE, PEOPLE, Caller, Role
from reconciler.core.explain import Action, PlanLine
from reconciler.core.sources import Source, State
from reconciler.core.view import masked
from reconciler.submit import Forbidden
from tests.reconciler.hostile import SHAPE
from tests.reconciler.world import (
    ADMIN,
    BYTES,
    OPERATOR,
    SECRETS,
    SHA256,
    VIEWER,
    World,
    document,
    image,
    machine,
    node,
    raw,
)

# -- the matrix --------------------------------------------------------------------------------------

EVERYBODY = "nobody garbage rotated agent viewer operator admin"
VERDICTS = {
    "GET /health": EVERYBODY,
    "GET /openapi.json": EVERYBODY,
    "POST /iaas/apply": "operator admin",
    "POST /iaas/delete": "operator admin",
    "GET /iaas/events": "viewer operator admin",
    "GET /iaas/audit": "admin",
    "GET /iaas/blobs/SHA256": "agent operator admin",
    "PUT /iaas/blobs/SHA256": "operator admin",
    "GET /iaas/nodes": "viewer operator admin",
    "GET /iaas/images": "viewer operator admin",
    "GET /iaas/machines": "viewer operator admin",
    "GET /iaas/nodes/NAME": "viewer operator admin",
    "GET /iaas/images/NAME": "viewer operator admin",
    "GET /iaas/machines/NAME": "viewer operator admin",
    "POST /iaas/nodes": "admin",
    "POST /iaas/images": "operator admin",
    "POST /iaas/machines": "operator admin",
    "PUT /iaas/machines/NAME": "operator admin",
    "DELETE /iaas/nodes/NAME": "admin",
    "GET /iaas/sources": "viewer operator admin",
    "GET /iaas/sources/NAME": "viewer operator admin",
    "POST /iaas/sources/NAME/approve": "admin",
    "DELETE /iaas/images/NAME": "operator admin",
    "DELETE /iaas/machines/NAME": "operator admin",
}
"""Who gets in; everybody else is refused. A route that is not here fails the tests."""

BODIES: dict[str, bytes] = {
    "PUT /iaas/blobs/SHA256": BYTES,
    "POST /iaas/nodes": b'{"name": "node2", "addr": "node2.example:7701"}',
}
"""For routes where the body decides who may; for others any will do, such as a wrong one."""

NAMES = {"nodes": "node1", "images": "spare", "machines": "web"}
PARTS = {
    "<plural:kind>": tuple(NAMES),
    "<plural:machines>": ("machines",),
    "<name>": ("NAME",),
    "<sha256>": ("SHA256",),
}
"""What the variable parts of paths can be."""

DISGUISES: list[dict[str, str]] = [
    {},
    {"HTTP_X_USER": "admin"},
    {"HTTP_X_ROLES": "admin"},
    {"HTTP_X_FORWARDED_USER": "admin"},
    {"HTTP_X_FORWARDED_FOR": "127.0.0.1"},
    {"HTTP_FORWARDED": "for=127.0.0.1;by=admin"},
    {"REMOTE_USER": "admin"},
    {"HTTP_COOKIE": f"token={ADMIN}"},
    {"HTTP_PROXY_AUTHORIZATION": f"Bearer {ADMIN}"},
    {"HTTP_X_HTTP_METHOD_OVERRIDE": "GET"},
    {"HTTP_X_ORIGINAL_URL": "/health"},
    {"HTTP_ORIGIN": "https://evil.example", "HTTP_SEC_FETCH_MODE": "cors"},
]
"""None of these makes anybody more than the token does."""


def cases(route: Route) -> Iterator[str]:
    """`METHOD PATH` for all that the variable parts can be."""
    parts = re.split("(<[^>]*>)", route.path)
    assert {part for part in parts if part.startswith("<")} <= set(PARTS), "add it to PARTS"
    for chosen in itertools.product(*(PARTS.get(part, (part,)) for part in parts)):
        yield f"{route.method} {''.join(chosen)}"


CASES = [case for route in ROUTES for case in cases(route)]


def authorizations() -> list[tuple[str, str | None]]:
    """(who, Authorization); for each role its token of yesterday, too."""
    found: list[tuple[str, str | None]] = [("nobody", None), ("garbage", "Bearer " + "x" * 24)]
    found += [("garbage", f"Basic {ADMIN}"), ("garbage", f"Bearer {ADMIN} ")]
    found += [("rotated", f"Bearer old-{token}") for token in SECRETS.values()]
    return found + [(str(role), f"Bearer {token}") for role, token in SECRETS.items()]


def filled(root: Path) -> World:
    """With something of each kind that can be deleted; all tokens have been others before."""
    world = World(root)
    world.secrets |= {role: f"old-{token}" for role, token in SECRETS.items()}
    for role, token in SECRETS.items():
        assert world.deps.tokens.role(f"Bearer old-{token}")[0] is role
    world.secrets |= SECRETS
    world.upload()
    world.desk.apply([node("node1"), image(), image("spare"), machine("web")])
    return world


def ask(world: World, case: str, **environ: Any) -> tuple[int, Any]:
    method, path = case.split(" ")
    for plural, name in NAMES.items():
        path = path.replace(f"/{plural}/NAME", f"/{plural}/{name}")
    body = BODIES.get(case, b"[]" if method in ("POST", "PUT") else b"")
    path = path.replace("SHA256", SHA256)
    return raw(world.app, method, path, body, REMOTE_ADDR="192.0.2.9", **environ)


def test_every_route_has_a_verdict_and_every_verdict_a_route() -> None:
    assert sorted(VERDICTS) == sorted(CASES), "a new route needs a line in VERDICTS"


@pytest.mark.parametrize("case", CASES)
def test_everybody_gets_in_where_they_may_and_nowhere_else(case: str, tmp_path: Path) -> None:
    allowed, numbers = VERDICTS[case].split(), itertools.count()
    closed = filled(tmp_path / "closed")
    for (who, header), disguise in itertools.product(authorizations(), DISGUISES):
        world = closed if who not in allowed else filled(tmp_path / str(next(numbers)))
        if who in allowed and disguise not in DISGUISES[:3]:
            continue  # enough, and each of these needs a world of its own
        writes = world.store.writes
        status, data = ask(world, case, HTTP_AUTHORIZATION=header, **disguise)
        if who in allowed:
            assert status not in (401, 403), (case, who, disguise)
            continue
        assert status == (403 if who in set(Role) else 401), (case, who, disguise)
        assert set(data) == SHAPE
        assert world.store.writes == writes
    _check_audit(closed, case, set(EVERYBODY.split()) - set(allowed))


def _check_audit(world: World, case: str, refused: set[str]) -> None:
    """Who was refused stands in the audit: the role, and never the token."""
    answer = world.client().get("/iaas/audit")
    found = [it for it in answer.json() if it["action"] == "refuse"]
    roles = {it["who"].split(" ")[0] for it in found if it["peer"] == "192.0.2.9"}
    expected = {"unknown" if who in ("garbage", "rotated") else who for who in refused}
    assert roles == expected, case
    assert not any(token in answer.text for token in SECRETS.values())
    assert all(it["times"] >= 1 for it in found)


def test_a_route_without_a_role_is_refused() -> None:
    with pytest.raises(TypeError, match="least"):
        Route("GET", "/iaas/new", lambda *_: None)  # type: ignore[call-arg, arg-type, return-value]


def test_only_people_outrank_one_another() -> None:
    for role, least in itertools.product(Role, Role):
        both = role in PEOPLE and least in PEOPLE
        expected = (
            PEOPLE.index(role) >= PEOPLE.index(least) if both else least in (Role.ANYBODY, role)
        )
        assert Caller(role, "somebody").is_a(least) is expected
    assert MAY_CHANGE[Role.ADMIN] == frozenset(KINDS)
    assert set(MAY_CHANGE) == {Role.ADMIN, Role.OPERATOR}


def test_there_is_no_cors_and_no_cookie(world: World) -> None:
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = world.client().request(method, "/iaas/machines", headers=headers)
        assert not [name for name in answer.headers if name.startswith(("access-control", "set-"))]
    assert answer.status_code == 405


# -- what an operator may touch is seen on the merged result -----------------------------------------


def apply(world: World, token: str, documents: list[Any], **more: Any) -> tuple[int, Any]:
    answer = world.client(token).post("/iaas/apply", json={"documents": documents, **more})
    return answer.status_code, answer.json()


@pytest.fixture
def shared(world: World) -> World:
    """A set of the admin, nodes and machines, that an operator takes care of."""
    world.upload()
    documents = [node("node1"), image(), machine("web")]
    assert apply(world, ADMIN, documents, source="set:all", prune=True)[0] == 200
    return world


def test_an_operator_may_apply_a_file_with_nodes_that_stay_as_they_are(shared: World) -> None:
    documents = [node("node1"), image(), machine("web", cpus=2), machine("new")]
    status, data = apply(shared, OPERATOR, documents, source="set:all", prune=True)
    assert (status, data["changed"]) == (200, 2)


@pytest.mark.parametrize(
    "documents",
    [
        pytest.param([node("node2"), machine("new")], id="create"),
        pytest.param(
            [node("node1") | {"metadata": {"name": "node1", "labels": {"a": "b"}}}], id="change"
        ),
    ],
)
@pytest.mark.parametrize("query", ["", "?dryRun=true"])
def test_an_operator_may_not_touch_a_node(shared: World, documents: list[Any], query: str) -> None:
    before = shared.store.snapshot()
    body = {"documents": documents, "source": "set:all"}
    answer = shared.client(OPERATOR).post(f"/iaas/apply{query}", json=body)
    name = documents[0]["metadata"]["name"]
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert answer.json()["message"] == f"node {name!r} may only be changed by an admin"
    assert [it["name"] for it in answer.json()["conflicts"]] == [name]
    assert shared.store.snapshot() == before


def test_pruning_does_not_let_an_operator_delete_a_node(shared: World) -> None:
    before = shared.store.snapshot()
    documents = [image(), machine("web")]
    status, data = apply(shared, OPERATOR, documents, source="set:all", prune=True)
    assert (status, data["error"]) == (403, "forbidden")
    assert "node 'node1'" in data["message"]
    assert shared.store.snapshot() == before
    assert apply(shared, ADMIN, documents, source="set:all", prune=True)[0] == 200


def test_deleting_a_machine_together_with_a_node_is_refused_whole(shared: World) -> None:
    objects = [{"kind": "Machine", "name": "web"}, {"kind": "Node", "name": "node1"}]
    before = shared.store.snapshot()
    answer = shared.client(OPERATOR).post("/iaas/delete", json={"objects": objects})
    assert (answer.status_code, answer.json()["conflicts"][0]["name"]) == (403, "node1")
    assert shared.store.snapshot() == before


def test_the_brake_is_the_admins_word(world: World) -> None:
    world.run(5)
    objects = [{"kind": "Machine", "name": f"m{number:02}"} for number in range(5)]
    client = world.client(OPERATOR)
    assert client.post("/iaas/delete", json={"objects": objects}).json()["error"] == "brake"
    answer = client.post("/iaas/delete", json={"objects": objects, "approve": True})
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert "only an admin may approve" in answer.json()["message"]
    assert not any(item.deleting for item in world.store.snapshot().objects.values())
    answer = world.client().post("/iaas/delete", json={"objects": objects, "approve": True})
    assert answer.json()["changed"] == 5


def test_an_operator_uploads_and_uses_an_image(world: World) -> None:
    client = world.client(OPERATOR)
    assert client.put(f"/iaas/blobs/{SHA256}", content=BYTES).status_code == 201
    assert apply(world, OPERATOR, [image(), machine("web")])[0] == 200
    assert client.delete("/iaas/machines/web").status_code == 202


def test_the_desk_refuses_whoever_asks(world: World) -> None:
    """Also where a route would forget."""
    actor = Caller(Role.VIEWER, "viewer 01234567").asks("POST", "/iaas/apply", 200)
    with pytest.raises(Forbidden, match="node 'node1'"):
        world.desk.apply([node("node1")], by=actor)
    world.desk.apply([node("node1")])
    with pytest.raises(Forbidden, match="node 'node1'"):
        world.desk.delete([("Node", "node1")], by=actor)


# -- what may be a secret ----------------------------------------------------------------------------


def test_a_viewer_sees_no_values_of_the_environment(world: World) -> None:
    world.upload()
    secret = machine(
        "web",
        type="docker",
        env={"PASSWORD": "canary-of-mine", "B": ""},
        command=["a", "canary-of-mine"],
    )
    docker = document("Image", "disk", type="docker", registry=f"nginx@sha256:{SHA256}")
    status, data = apply(world, ADMIN, [docker, secret])
    assert status == 200, data
    for path in ("/iaas/machines", "/iaas/machines/web"):
        seen = {token: world.client(token).get(path).json() for token in (VIEWER, OPERATOR, ADMIN)}
        env = {token: json.dumps(data) for token, data in seen.items()}
        assert '"env": {"B": "***", "PASSWORD": "***"}' in env[VIEWER]
        assert "canary-of-mine" not in env[VIEWER]
        assert "canary-of-mine" in env[OPERATOR]
        assert "canary-of-mine" in env[ADMIN]
    for path in ("/iaas/images", "/iaas/nodes", "/iaas/events"):
        assert "canary-of-mine" not in world.client(VIEWER).get(path).text


def test_a_viewer_cannot_guess_values_by_asking_for_them(world: World) -> None:
    world.upload()
    docker = document("Image", "disk", type="docker", registry=f"nginx@sha256:{SHA256}")
    env = {"PASSWORD": "guess-me"}
    assert apply(world, ADMIN, [docker, machine("web", type="docker", env=env)])[0] == 200
    query = {"spec.env": json.dumps(env)}
    found = {
        token: world.client(token).get("/iaas/machines", params=query) for token in (VIEWER, ADMIN)
    }
    assert found[ADMIN].status_code != 200 or len(found[ADMIN].json()) == 1
    assert found[VIEWER].status_code != 200 or found[VIEWER].json() == []


def test_a_viewer_sees_none_in_what_waits_in_a_watched_directory(world: World) -> None:
    old, new = {"PASSWORD": "canary-old"}, {"PASSWORD": "canary-new", "B": "canary-b"}
    changes = (
        FieldChange("env", old, new, Effect.REPLACE, "why"),
        FieldChange("command", [], ["--password", "canary-c"], Effect.REPLACE, "why"),
        FieldChange("cpus", 1, 2, Effect.IN_PLACE, "why"),
    )
    line = PlanLine(action=Action.REPLACE, kind="Machine", name="web", changes=changes)
    source = Source(name="dir:lab", path="/lab", state=State.WAITING, lines=(line,))
    world.deps.sources.put(source)
    for path in ("/iaas/sources", "/iaas/sources/dir:lab"):
        assert "canary" not in world.client(VIEWER).get(path).text
        assert "canary-new" in world.client(OPERATOR).get(path).text
    (shown,) = world.client(VIEWER).get("/iaas/sources").json()[0]["plan"]
    assert [(it["field"], it["old"], it["new"]) for it in shown["changes"]] == [
        ("env", {"PASSWORD": "***"}, {"B": "***", "PASSWORD": "***"}),
        ("command", [], ["***", "***"]),
        ("cpus", 1, 2),
    ]


def test_a_viewer_sees_no_signature_in_the_address_of_an_image() -> None:
    address = "https://files.example/disk.raw?signature=canary"
    shown = masked({"type": "libvirt", "url": address, "sha256": SHA256})
    assert shown == {
        "type": "libvirt",
        "url": "https://files.example/disk.raw?***",
        "sha256": SHA256,
    }
    assert (
        masked({"type": "libvirt", "url": "https://files.example/disk.raw"})["url"][-4:] == ".raw"
    )
