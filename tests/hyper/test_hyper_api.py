"""The agent's HTTP interface as a hostile neighbour sees it: no socket, every word checked."""

import io
import json
from collections.abc import Callable
from typing import Any
from wsgiref.validate import validator

import pytest

from hyper.api import MAX_BODY, make_app
from hyper.core.admission import admit
from hyper.ledger import LedgerError
from manifests.codec import dump, load
from manifests.scalars import Cpus, Memory, Name
from manifests.wire import Exchange, Report
from tests.hyper.making import OTHER, assignment, exchange, placement

TOKEN = "the-token-of-these-tests"
REPORT = Report(
    node=Name("n1"), boot="b", revision=3, generation=5, cpus=Cpus(1000), memory=Memory(1024)
)
MINE = assignment(placement(), generation=5, term=3)


class Unread(io.BytesIO):
    """A body that nobody may look into."""

    def read(self, *_: Any) -> bytes:
        raise AssertionError("the body was read")


class Front:
    """The application, and what it let through."""

    def __init__(self, act: Callable[[Exchange], Report] | None = None) -> None:
        self.taken: list[Exchange] = []
        self.act = act or self.admit
        self.app = make_app(self.exchange, TOKEN)

    def exchange(self, request: Exchange) -> Report:
        self.taken.append(request)
        return self.act(request)

    @staticmethod
    def admit(request: Exchange) -> Report:
        admit(request, MINE, vacant=False)
        return REPORT

    def call(
        self, body: bytes = b"", method: str = "POST", path: str = "/v1/exchange", **environ: Any
    ) -> tuple[int, Any]:
        answer: list[str] = []
        base = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "test",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_AUTHORIZATION": f"Bearer {TOKEN}",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        merged = {name: value for name, value in (base | environ).items() if value is not None}

        def start(status: str, headers: object, exc: object = None) -> Callable[[bytes], object]:
            answer.append(status)
            return lambda _: None

        parts = validator(self.app)(merged, start)
        data = b"".join(parts)
        parts.close()  # type: ignore[attr-defined]
        return int(answer[-1][:3]), json.loads(data) if data else None


@pytest.fixture
def front() -> Front:
    return Front()


def body(request: Exchange) -> bytes:
    return json.dumps(dump(request)).encode()


GOOD = body(exchange(term=3))


def test_a_word_is_taken_and_answered_with_the_report(front: Front) -> None:
    told = exchange(assignment(placement(), generation=6, term=3), boot="b", revision=2, wait=1.5)
    status, answer = front.call(body(told))
    assert (status, load(Report, answer)) == (200, REPORT)
    assert front.taken == [told]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"bearer {TOKEN}",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer  {TOKEN}",
        "Bearer \xff\xfe",
    ],
)
def test_who_has_no_token_is_refused_before_a_byte_is_read(
    front: Front, header: str | None
) -> None:
    environ = {"wsgi.input": Unread(b"{"), "CONTENT_LENGTH": "1", "HTTP_AUTHORIZATION": header}
    status, answer = front.call(**environ)
    assert (status, answer["error"]) == (401, "unauthorised")
    assert TOKEN not in answer["message"]
    assert front.taken == []


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{} {}",
        b'{"cluster": NaN}',
        b'{"wait": Infinity}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"revision": ' + b"9" * 5000 + b"}",
        GOOD.replace(b'"term": 3', b'"term": true'),
        GOOD.replace(b'"term": 3', b'"term": "3"'),
        GOOD.replace(b'"term": 3', b'"term": 3, "surprise": 1'),
        GOOD.replace(b'"term": 3', b'"term": 3, "wait": NaN'),
        GOOD.replace(b'"n1"', b'"../../etc"'),
        GOOD.replace(b'"00000000-', b'"../../etc-'),
    ],
)
def test_what_is_no_exchange_is_refused(front: Front, bad: bytes) -> None:
    assert bad != GOOD
    status, answer = front.call(bad)
    assert (status, answer["error"]) == (400, "invalid")
    assert answer["message"]
    assert front.taken == []


@pytest.mark.parametrize("length", ["", "0", "-1", "x", "1e3", str(MAX_BODY + 1), "9" * 30, None])
def test_a_body_of_no_or_too_great_length_is_refused_unread(
    front: Front, length: str | None
) -> None:
    app = front.app  # wsgiref's validator wants a number; a hostile client sends what it likes
    status: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/v1/exchange",
        "HTTP_AUTHORIZATION": f"Bearer {TOKEN}",
        "wsgi.input": Unread(),
        "wsgi.errors": io.StringIO(),
    }
    if length is not None:
        environ["CONTENT_LENGTH"] = length
    answer = b"".join(app(environ, lambda line, headers, exc=None: status.append(line)))
    assert status[0].startswith("400 ")
    assert json.loads(answer)["error"] == "invalid"


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        (exchange(term=2), 409, "term"),
        (exchange(assignment(generation=6, term=2)), 409, "term"),
        (exchange(term=3, cluster=OTHER), 403, "cluster"),
        (exchange(term=3, node=Name("n2")), 403, "node"),
        (exchange(term=3, protocol=2), 400, "protocol"),
    ],
)
def test_who_may_not_speak_is_told_why(
    front: Front, request_: Exchange, status: int, error: str
) -> None:
    found, answer = front.call(body(request_))
    assert (found, answer["error"]) == (status, error)
    assert answer["message"]


def test_what_cannot_be_kept_is_not_acknowledged() -> None:
    def full(_: Exchange) -> Report:
        raise LedgerError("cannot write ledger.json: No space left on device")

    status, answer = Front(full).call(GOOD)
    assert (status, answer["error"]) == (507, "ledger")
    assert answer["message"] == "cannot write ledger.json: No space left on device"


def test_a_bug_tells_nothing_of_itself() -> None:
    def bug(_: Exchange) -> Report:
        raise ZeroDivisionError(TOKEN)

    status, answer = Front(bug).call(GOOD)
    assert (status, answer["error"]) == (500, "http")
    assert TOKEN not in json.dumps(answer)


def test_health_needs_no_token_and_tells_nothing(front: Front) -> None:
    found = front.call(method="GET", path="/health", HTTP_AUTHORIZATION=None)
    assert found == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/v1/exec", 404),
        ("POST", "/v1/exchange/", 404),
        ("POST", "/__class__", 404),
        ("GET", "/metrics", 404),
        ("GET", "/v1/exchange", 405),
        ("DELETE", "/v1/exchange", 405),
        ("POST", "/health", 405),
    ],
)
def test_there_is_nothing_else(front: Front, method: str, path: str, status: int) -> None:
    found, answer = front.call(method=method, path=path)
    assert (found, answer["error"]) == (status, "http")
    assert front.taken == []
