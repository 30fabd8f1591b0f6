"""Hostile requests, byte for byte, against the running program."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.hostile.program import SLOWEST, TALLY, Answer, Kept, Program
from tests.hostile.rest import AUTH, CASES, IGNORED, Case, request
from tests.reconciler.world import BYTES, SHA256


@pytest.fixture(scope="module", autouse=True)
def _web(program: Program) -> Iterator[None]:
    """A machine that hostile requests may aim at."""
    assert program.ask("PUT", f"/iaas/blobs/{SHA256}", BYTES).status == 201
    disk = {"name": "disk", "format": "raw", "sha256": SHA256}
    assert program.ask("POST", "/iaas/images", disk).status == 201
    assert program.ask("POST", "/iaas/machines", {"image": "disk", "name": "web"}).status == 201
    yield
    for path in ("/iaas/machines/web", "/iaas/images/disk"):
        assert program.ask("DELETE", path, Prefer="wait=10").status == 204


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_request_is_refused(program: Program, before: Kept, case: Case) -> None:
    answer = program.exchange(case.data)
    program.refused("R", case.id, answer, before, case.word)
    assert answer.status in case.status, answer
    assert not {"set-cookie", "x-b", "access-control-allow-origin"} & set(answer.headers)


@pytest.mark.parametrize("name", IGNORED)
def test_a_header_changes_nothing(program: Program, before: Kept, name: str) -> None:
    answer = program.exchange(IGNORED[name])
    TALLY.add("R", name, answer.seconds)
    assert (answer.status, answer.said["name"]) == (200, "web")
    assert not any(header.startswith("access-control") for header in answer.headers)
    assert "evil.test" not in str(answer.headers) + answer.body.decode()
    assert program.kept() == before


def test_without_a_token_all_answers_are_the_same(program: Program) -> None:
    """So nobody learns what exists (53)."""
    answers = {
        program.exchange(request(line, auth=b"")).body
        for line in ("GET /iaas/machines/web", "GET /iaas/machines/no", "GET /x", "PUT /iaas/nodes")
    }
    assert len(answers) == 1


def test_bytes_behind_a_refused_request_are_no_request(program: Program, before: Kept) -> None:
    """58: nothing is smuggled past whoever stands in front."""
    inner = request("DELETE /iaas/machines/web")
    head = b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(inner)
    data = request("POST /iaas/delete", head) + inner
    with socket.create_connection(program.address, timeout=30) as connection:
        connection.sendall(data.replace(b"@TOKEN@", program.token().encode()))
        said = b""
        while chunk := connection.recv(1 << 16):
            said += chunk
    assert said.count(b"HTTP/1.1 ") == 1
    assert program.kept() == before


def test_a_key_stands_for_one_body(program: Program) -> None:
    """85"""

    def create(**more: Any) -> Answer:
        data = {"image": "disk", "name": "keyed", "mem": 64} | more
        return program.ask("POST", "/iaas/machines", data, Idempotency_Key="a-key")

    assert (create().status, create().status) == (201, 201)
    before = program.kept()
    answer = create(mem=128)
    program.refused("R", "R85-other-body", answer, before, "another")
    assert answer.status == 422
    assert program.ask("DELETE", "/iaas/machines/keyed", Prefer="wait=10").status == 204


def test_of_many_creations_of_one_name_one_succeeds(program: Program) -> None:
    """86"""

    def create(_: int) -> Answer:
        return program.ask("POST", "/iaas/machines", {"image": "disk", "name": "one"})

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(create, range(200)))
    TALLY.add("R", "R86-at-once", max(answer.seconds for answer in answers))
    assert sorted(answer.status for answer in answers)[:2] == [201, 409]
    assert {answer.status for answer in answers} <= {201, 409, 429}
    made = json.loads(program.ask("GET", "/iaas/machines?name=one").body)
    assert len(made) == 1
    assert program.ask("DELETE", "/iaas/machines/one", Prefer="wait=10").status == 204


@pytest.mark.parametrize(("method", "status"), [("PUT", 404), ("GET", 404), ("DELETE", 204)])
def test_what_is_deleted_stays_so_under_its_id(program: Program, method: str, status: int) -> None:
    """88: also when another machine has its name by now."""
    spec = {"image": "disk", "name": "again"}
    old = program.ask("POST", "/iaas/machines", spec).said["id"]
    assert program.ask("DELETE", f"/iaas/machines/{old}", Prefer="wait=10").status == 204
    new = program.ask("POST", "/iaas/machines", spec).said["id"]
    before = program.kept()
    body = {"state": "stopped"} if method == "PUT" else b""
    answer = program.ask(method, f"/iaas/machines/{old}", body)
    assert answer.status == status
    if status == 404:
        program.refused("R", f"R88-{method}", answer, before, "")
    assert program.kept() == before
    assert program.ask("DELETE", f"/iaas/machines/{new}", Prefer="wait=10").status == 204


def test_a_flood_of_wrong_tokens_leaves_nothing(program: Program, before: Kept) -> None:
    """95: 2,000 attempts on a few connections."""
    guess = request("GET /iaas/machines", auth=AUTH.replace(b"@TOKEN@", b"guess"))
    last = request("GET /iaas/machines", b"Connection: close\r\n", auth=b"")
    memory = program.memory
    for _ in range(4):
        with socket.create_connection(program.address, timeout=30) as connection:
            connection.sendall(guess * 499 + last)
            said = b""
            while chunk := connection.recv(1 << 16):
                said += chunk
        assert said.count(b"HTTP/1.1 401") == 500
    answer = program.ask("GET", "/iaas/machines")
    TALLY.add("R", "R95-after-2000", answer.seconds)
    assert answer.status == 200
    assert answer.seconds < SLOWEST
    assert program.kept() == before
    assert program.memory - memory < 20 << 20
    noted = json.loads(program.ask("GET", "/iaas/audit").body)
    assert len([entry for entry in noted if entry["status"] == 401]) < 100
