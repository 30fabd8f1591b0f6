"""Hostile requests: the right refusal in the one shape, quickly, and nothing is written.

Who asks, methods, paths, queries. Numbers name cases of the list in `tests.hostile.numbers`. What the HTTP
server refuses by itself is tested in test_server.py.
"""

import json
import re

import pytest

from tests.reconciler.hostile import APPLY, SHAPE, Unread, refused
from tests.reconciler.world import (
    ADMIN,
    AGENT,
    SHA256,
    World,
    image,
    machine,
    raw,
    unchecked,
)

# -- who asks (53, 79, 82, 83, 95) -------------------------------------------------------------------

PATHS = [
    ("GET", "/iaas/machines"),
    ("GET", "/iaas/machines/web"),
    ("GET", "/iaas/machines/other"),
    ("DELETE", "/iaas/machines/web"),
    ("POST", APPLY),
    ("POST", "/iaas/delete"),
    ("GET", "/iaas/events"),
    ("GET", f"/iaas/blobs/{SHA256}"),
    ("PUT", f"/iaas/blobs/{SHA256}"),
    ("GET", "/"),
    ("GET", "/nowhere"),
    ("TRACE", "/iaas/machines"),
    ("GET", "/health/"),
    ("GET", "/health\xff"),
]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        ADMIN,
        f"Basic {ADMIN}",
        f"Bearer {ADMIN}x",
        f"Bearer {ADMIN[:-1]}",
        f"Bearer  {ADMIN}",
        f"Bearer {ADMIN} ",
        f"Bearer {ADMIN}, Bearer {AGENT}",
        f"Bearer {ADMIN.upper()}",
        "Bearer \xff\xfe",
        "Bearer " + "x" * 20_000,
    ],
    ids=lambda header: repr(header)[:24],
)
def test_without_the_whole_token_there_is_401_everywhere(world: World, header: str | None) -> None:
    """The same answer for what exists and what does not, and nothing is read before it."""
    world.upload()
    world.desk.apply([image(), machine("web")])
    answers = set()
    for method, path in PATHS:
        environ = {"HTTP_AUTHORIZATION": header, "wsgi.input": Unread(), "CONTENT_LENGTH": "9" * 10}
        if method != "HEAD":
            answers.add(json.dumps(refused(world, 401, method, path, **environ)))
    assert len(answers) == 1


def test_401_says_how_to_come_in(world: World) -> None:
    answer = world.client(token=None).get("/iaas/machines")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="iaas"'


@pytest.mark.parametrize(("method", "path"), PATHS, ids=lambda value: str(value))
def test_an_agent_may_only_fetch_bytes(world: World, method: str, path: str) -> None:
    environ = {"HTTP_AUTHORIZATION": f"Bearer {AGENT}", "wsgi.input": Unread()}
    status, _ = raw(world.app, method, path, CONTENT_LENGTH="5", **environ)
    known = {("GET", "/"): 404, ("GET", "/nowhere"): 404, ("GET", "/health/"): 404}
    known |= {("TRACE", "/iaas/machines"): 405, ("GET", "/health\xff"): 400}
    known |= {("GET", f"/iaas/blobs/{SHA256}"): 404}
    assert status == known.get((method, path), 403)


@pytest.mark.parametrize(
    "header",
    [
        {"HTTP_X_USER": "admin"},
        {"HTTP_X_ROLES": "admin"},
        {"REMOTE_USER": "admin"},
        {"HTTP_X_FORWARDED_USER": "admin"},
        {"HTTP_COOKIE": f"token={ADMIN}"},
        {"QUERY_STRING": f"token={ADMIN}"},
        {"QUERY_STRING": f"access_token={ADMIN}"},
        {"HTTP_PROXY_AUTHORIZATION": f"Bearer {ADMIN}"},
    ],
    ids=lambda header: next(iter(header)),
)
def test_nothing_but_the_authorization_header_says_who_asks(
    world: World, header: dict[str, str]
) -> None:
    refused(world, 401, "GET", "/iaas/machines", HTTP_AUTHORIZATION=None, **header)


@pytest.mark.parametrize("name", ["HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_METHOD_OVERRIDE"])
def test_method_override_headers_are_ignored(world: World, name: str) -> None:
    world.upload()
    world.desk.apply([image(), machine("web")])
    status, data = raw(world.app, "GET", "/iaas/machines/web", **{name: "DELETE"})
    assert (status, data["state"]) == (200, "pending")


# -- methods and paths (55, 68) ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["TRACE", "PATCH", "PUT", "DELETE", "OPTIONS", "HELLO"])
def test_other_methods_are_refused(world: World, method: str) -> None:
    status, data = unchecked(world.app, method, "/iaas/machines")
    assert (status, set(data)) == (405, SHAPE)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/iaas/machines/../nodes", 404),
        ("/iaas//machines", 404),
        ("/iaas/machines/", 404),
        ("/iaas/Machines", 404),
        ("/iaas/machines/web\x00", 404),
        ("/iaas/machines/web\r\nX: y", 404),
        ("/iaas/machines/web-2", 404),
        ("/iaas/machines/we", 404),
        ("/iaas/machines/w\xff\xfeeb", 400),
        ("/iaas/machines/" + "x" * 10_000, 404),
        ("/iaas/machines/\u0430".encode().decode("latin-1"), 404),
        ("/iaas/blobs/..%2f..%2fetc%2fpasswd", 400),
        ("/iaas/blobs/../../etc/passwd", 404),
        (f"/iaas/blobs/{SHA256}\n", 400),
        (f"/iaas/blobs/{SHA256.upper()}", 400),
        (f"/iaas/blobs/sha256:{SHA256}", 400),
        ("/iaas/__class__", 404),
        ("", 404),
        ("*", 404),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_paths_are_matched_exactly(world: World, path: str, status: int) -> None:
    world.upload()
    world.desk.apply([image(), machine("web")])
    if not path.startswith("/"):  # the validator would not send it, a server might
        return
    refused(world, status, "GET", path)


# -- queries (76, 77) --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/iaas/events", "limit=-1"),
        ("/iaas/events", "limit=1e9"),
        ("/iaas/events", "limit=1001"),
        ("/iaas/events", "limit="),
        ("/iaas/events", "limit=%2B5"),
        ("/iaas/events", "limit=1_0"),
        ("/iaas/events", "limit=%D9%A1"),
        ("/iaas/events", "limit[]=1"),
        ("/iaas/events", "limit=1&limit=1"),
        ("/iaas/events", "since=-1"),
        ("/iaas/events", "since=9999999999999999"),
        ("/iaas/events", "since=abc"),
        ("/iaas/events", "cursor=abc"),
        ("/iaas/events", "kind=Pod"),
        ("/iaas/events", "name=%ff"),
        ("/iaas/events", "&".join(f"a{n}=1" for n in range(40))),
        ("/iaas/machines", "colour=red"),
        ("/iaas/machines", "__class__=x"),
        ("/iaas/machines", "name.x=1"),
        ("/iaas/machines", "name=a&name=b"),
        ("/iaas/machines/web", "watch=true"),
        ("/iaas/blobs/" + SHA256, "x=1"),
        ("/health", "x=1"),
    ],
    ids=lambda value: value[:30],
)
def test_queries_are_taken_strictly(world: World, path: str, query: str) -> None:
    world.upload()
    world.desk.apply([image(), machine("web")])
    refused(world, 400, "GET", path, QUERY_STRING=query)


@pytest.mark.parametrize("query", ["dryRun=1", "dryRun=True", "dryRun=", "dryrun=true", "dryRun"])
def test_a_dry_run_is_asked_for_exactly_or_refused(world: World, query: str) -> None:
    """Half a dry run would be a real one."""
    refused(world, 400, "POST", APPLY, b'{"documents":[]}', QUERY_STRING=query)


# -- defects (91) ------------------------------------------------------------------------------------


def test_a_defect_tells_an_id_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("/etc/passwd hunter2")

    monkeypatch.setattr(world.desk, "apply", broken)
    status, data = raw(world.app, "POST", APPLY, b'{"documents":[]}')
    assert (status, set(data), data["error"]) == (500, SHAPE, "internal")
    (number,) = re.findall("error ([0-9a-f]{12})", data["message"])
    assert "hunter2" not in json.dumps(data)
    assert "Traceback" not in json.dumps(data)
    assert number in caplog.text
    assert "hunter2" in caplog.text
