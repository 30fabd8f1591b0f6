"""Hostile requests: the right refusal in the one shape, quickly, and nothing is written.

Numbers are those of section 4 of reliability.md. What the HTTP server refuses by itself is tested in
test_server.py.
"""

import json
import time
from typing import Any

import pytest

from tests.reconciler.world import (
    ADMIN,
    AGENT,
    BYTES,
    SHA256,
    World,
    image,
    machine,
    node,
    raw,
    unchecked,
)

SHAPE = {"error", "message", "field", "hint", "conflicts", "faults"}
APPLY = "/iaas/apply"
MIB = 1 << 20


class Unread:
    """A body that must not be touched."""

    def read(self, _size: int = -1) -> bytes:
        raise AssertionError("the body was read")

    readline = readlines = __iter__ = read


def refused(
    world: World, status: int, method: str, path: str, body: bytes = b"", **environ: Any
) -> dict[str, Any]:
    """The error of a request that must be refused, at once, and without a trace."""
    writes, start = world.store.writes, time.monotonic()
    found, data = raw(world.app, method, path, body, **environ)
    assert time.monotonic() - start < 1.0
    assert (found, world.store.writes) == (status, writes), data
    assert set(data) == SHAPE
    assert "Traceback" not in data["message"]
    return dict(data)


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


@pytest.mark.parametrize("method", ["TRACE", "PATCH", "PUT", "POST", "OPTIONS", "HELLO"])
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


# -- framing and size (56, 58, 59, 74) ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "status"),
    [
        (str(64 * MIB + 1), 413),
        ("10737418240", 413),
        ("9" * 18, 413),
        ("9" * 400, 400),
        ("+5", 400),
        ("-1", 400),
        ("0x5", 400),
        ("5.0", 400),
        ("5, 5", 400),
        (" 5", 400),
        ("1_0", 400),
        ("\xb2", 400),
        ("", 411),
        (None, 411),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_the_length_is_judged_before_anything_is_read(
    world: World, length: str | None, status: int
) -> None:
    environ = {"CONTENT_LENGTH": length, "wsgi.input": Unread()}
    if length is not None and not (length.isdigit() and length.isascii()):
        # wsgiref's validator refuses these itself, so they go in without it

        assert unchecked(world.app, "POST", APPLY, **environ)[0] == status
        return
    refused(world, status, "POST", APPLY, **environ)


@pytest.mark.parametrize("path", ["/iaas/delete"])
def test_small_requests_have_a_small_limit(world: World, path: str) -> None:
    refused(world, 413, "POST", path, CONTENT_LENGTH=str(MIB + 1), **{"wsgi.input": Unread()})


def test_one_byte_over_the_limit_is_too_much_and_the_limit_is_not(world: World) -> None:
    body = b'{"objects":[]}'
    assert raw(world.app, "POST", "/iaas/delete", body.ljust(MIB))[0] == 200
    refused(world, 413, "POST", "/iaas/delete", body.ljust(MIB + 1))


def test_a_body_that_ends_early_is_refused(world: World) -> None:
    refused(world, 400, "POST", APPLY, b'{"documents":[]}', CONTENT_LENGTH="17")


@pytest.mark.parametrize("coding", ["chunked", "gzip, chunked", "identity"])
def test_chunked_bodies_are_refused(world: World, coding: str) -> None:
    environ = {"HTTP_TRANSFER_ENCODING": coding, "wsgi.input": Unread(), "CONTENT_LENGTH": "5"}
    refused(world, 411, "POST", APPLY, **environ)


@pytest.mark.parametrize(
    "type_",
    [
        "",
        "text/plain",
        "application/jsonx",
        "application/json, text/html",
        "application/json; a; b",
        "application/json; charset=latin-1",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json\n",
        "x" * 5000 + ";" * 5000,
    ],
    ids=lambda value: repr(value)[:40],
)
def test_other_content_types_are_refused_unread(world: World, type_: str) -> None:
    environ = {"CONTENT_TYPE": type_, "CONTENT_LENGTH": "16", "wsgi.input": Unread()}
    refused(world, 415, "POST", APPLY, **environ)


@pytest.mark.parametrize("type_", ["application/json", 'application/JSON ;charset="UTF-8"'])
def test_json_may_say_that_it_is_utf8(world: World, type_: str) -> None:
    assert raw(world.app, "POST", APPLY, b'{"documents":[]}', CONTENT_TYPE=type_)[0] == 200


def test_compressed_bodies_are_refused(world: World) -> None:
    environ = {"HTTP_CONTENT_ENCODING": "gzip", "CONTENT_LENGTH": "16", "wsgi.input": Unread()}
    refused(world, 415, "POST", APPLY, **environ)


# -- JSON (70, 71, 73) -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"documents":[]}x', "not JSON"),
        (b"\xff\xfe{\x00", "not UTF-8"),
        (b'{"documents":["\xc3\x28"]}', "not UTF-8"),
        (b'\xef\xbb\xbf{"documents":[]}', "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'"documents"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"{}", "documents is missing"),
        (b'{"documents":null}', "documents is null"),
        (b'{"documents":{}}', "documents is an object"),
        (b'{"documents":[],"prune":1}', "prune is an integer"),
        (b'{"documents":[],"prune":"true"}', "prune is a string"),
        (b'{"documents":[],"ifRevision":true}', "ifRevision is true or false"),
        (b'{"documents":[],"ifRevision":1.5}', "ifRevision is a number"),
        (b'{"documents":[],"dryRun":true}', "unknown field 'dryRun'"),
        (b'{"documents":[],"__class__":1}', "unknown field"),
        (b'{"documents":[NaN]}', "NaN is not JSON"),
        (b'{"documents":[Infinity]}', "Infinity is not JSON"),
        (b'{"documents":[-Infinity]}', "-Infinity is not JSON"),
        (b'{"documents":[1e999]}', "too large"),
        (b'{"documents":[' + b"9" * 5000 + b"]}", "too many digits"),
        (b'{"documents":[],"documents":[]}', "'documents' occurs twice"),
        (b'{"documents":[{"kind":"Node","kind":"Image"}]}', "'kind' occurs twice"),
        (b'{"documents":["\\ud800"]}', "half of a surrogate pair"),
        (b'{"documents":["\\udc00\\ud800"]}', "half of a surrogate pair"),
        (b'{"documents":[{"\\ud800":1}]}', "half of a surrogate pair"),
        (b'{"documents":[],"source":"../x"}', "is not a name of a source"),
        (b'{"documents":[],"source":""}', "is not a name of a source"),
        (b'{"documents":[],"source":"a\\n"}', "is not a name of a source"),
        (b'{"documents":' + b"[" * 100_000, "nested deeper than 64"),
        (b'{"documents":' + b"[" * 70 + b"]" * 70 + b"}", "nested deeper than 64"),
        (b'{"documents":[' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"]}", "nested deeper than 64"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_json_is_taken_strictly(world: World, body: bytes, word: str) -> None:
    assert word in refused(world, 400, "POST", APPLY, body)["message"]


def test_whole_surrogate_pairs_are_fine(world: World) -> None:
    body = b'{"documents":["\\ud83d\\ude00"]}'
    assert refused(world, 422, "POST", APPLY, body)["faults"][0]["index"] == 0


def test_depth_up_to_the_limit_is_fine(world: World) -> None:
    body = b'{"documents":' + b"[" * 63 + b"]" * 63 + b"}"
    assert refused(world, 422, "POST", APPLY, body)["error"] == "invalid"


@pytest.mark.parametrize(
    "objects",
    [
        [1],
        [None],
        [[]],
        [{}],
        [{"kind": "Machine"}],
        [{"kind": "Machine", "name": "web", "uid": "x"}],
        [{"kind": "Pod", "name": "web"}],
        [{"kind": ["Machine"], "name": "web"}],
        [{"kind": {}, "name": "web"}],
        [{"kind": "Machine", "name": 1}],
        [{"kind": "Machine", "name": None}],
    ],
    ids=repr,
)
def test_what_to_delete_is_said_exactly(world: World, objects: list[Any]) -> None:
    body = json.dumps({"objects": objects}).encode()
    assert refused(world, 400, "POST", "/iaas/delete", body)["field"].startswith("objects[0]")


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


# -- bytes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["+5", "-1", "9" * 40], ids=repr)
def test_uploads_need_a_plain_length(world: World, length: str) -> None:

    environ = {"CONTENT_LENGTH": length, "wsgi.input": Unread()}
    assert unchecked(world.app, "PUT", f"/iaas/blobs/{SHA256}", **environ)[0] == 400


def test_an_upload_beyond_the_disk_is_refused_unread(world: World) -> None:
    environ = {"CONTENT_LENGTH": "9" * 17, "wsgi.input": Unread()}
    refused(world, 507, "PUT", f"/iaas/blobs/{SHA256}", **environ)


def test_an_upload_that_ends_early_leaves_nothing(world: World) -> None:
    path = f"/iaas/blobs/{SHA256}"
    refused(world, 422, "PUT", path, BYTES[:-1], CONTENT_LENGTH=str(len(BYTES)))
    assert list(world.library.root.iterdir()) == []


# -- sets (52) ---------------------------------------------------------------------------------------


def test_of_5000_machines_with_one_bad_none_is_applied(world: World) -> None:
    world.upload()
    documents = [node("node1"), image(), *(machine(f"m{number}") for number in range(4998))]
    documents.append(machine("m5000", memory="-1"))
    writes = world.store.writes
    body = json.dumps({"documents": documents}).encode()
    status, data = raw(world.app, "POST", APPLY, body)
    assert (status, [fault["index"] for fault in data["faults"]]) == (422, [5000])
    assert world.store.writes == writes


def test_too_many_documents_are_refused(world: World) -> None:
    body = b'{"documents":[' + b"1," * 200_000 + b"1]}"
    assert refused(world, 413, "POST", APPLY, body)["error"] == "too_large"


def test_a_set_of_nonsense_answers_with_so_many_faults_and_no_more(world: World) -> None:
    body = b'{"documents":[' + b"1," * 4999 + b"1]}"
    data = refused(world, 422, "POST", APPLY, body)
    assert (len(data["faults"]), data["message"]) == (1000, "5000 faults; nothing was changed")
