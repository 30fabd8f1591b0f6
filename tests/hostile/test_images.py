"""Hostile images: files that are uploaded, files of the controller's host, and addresses to fetch from."""

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from iaasctl.main import main
from tests.hostile.images import FILES, HOSTS, LOCATIONS, TYPES, URLS, File
from tests.hostile.program import SLOWEST, TALLY, Answer, Kept, Program, timed
from tests.reconciler.mirror import Mirror, Request, until
from tests.reconciler.world import document

DATA = os.urandom(100_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHER = "0" * 64


def put(program: Program, data: bytes, digest: str = "", **headers: str) -> Answer:
    digest = digest or hashlib.sha256(data).hexdigest()
    return program.ask("PUT", f"/iaas/blobs/{digest}", data, **headers)


def declared(data: bytes, format_: str) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    return {"name": "evil", "format": format_, "type": TYPES[format_], "sha256": digest}


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.id)
def test_a_file_is_refused_when_an_image_is_made_of_it(program: Program, case: File) -> None:
    """Its bytes may be kept until tomorrow: nothing uses them."""
    uploaded = put(program, case.data)
    assert uploaded.status in (200, 201)
    before = program.kept()
    answer = program.ask("POST", "/iaas/images", declared(case.data, case.format))
    program.refused("I", case.id, answer, before, case.word)
    assert (answer.status, answer.said["field"]) == (422, "format")
    spec = declared(case.data, case.format)
    answer = program.ask(
        "POST", "/iaas/apply", {"documents": [document("Image", spec.pop("name"), **spec)]}
    )
    program.refused("I", f"{case.id}, apply", answer, before, case.word)
    assert "spec.format" in answer.fields


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.id)
def test_a_file_is_refused_by_iaasctl_unsent(
    program: Program, before: Kept, case: File, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil"
    path.write_bytes(case.data)
    where = ("--server", program.url, "--token-file", str(program.root / "state/token"))
    words = (*where, "img", "add", "evil", str(path), "--format", case.format)
    code, seconds = timed(lambda: main(words))
    TALLY.add("I", f"{case.id}, img add", seconds)
    said = capfd.readouterr()
    assert (code, said.out) == (2, "")
    assert case.word in said.err
    assert "Traceback" not in said.err
    assert program.kept() == before


@pytest.mark.parametrize("format_", TYPES)
def test_a_file_of_the_host_is_held_to_the_same(program: Program, format_: str) -> None:
    """One of a sort: they take the way of uploaded ones from here on (131, 136, 143)."""
    case = next(case for case in FILES if case.format == format_)
    path = program.root / "sources" / f"evil-{format_}"
    path.write_bytes(case.data)
    before = program.kept()
    spec = {"type": TYPES[format_], "format": format_, "file": str(path)}
    answer = program.ask("POST", "/iaas/apply", {"documents": [document("Image", "evil", **spec)]})
    program.refused("I", f"{case.id}, host", answer, (before[0], program.kept()[1]), case.word)


@pytest.mark.parametrize(
    "path", ["/etc/shadow", "{root}/sources/../state/token", "{root}/sources/link"]
)
def test_files_of_the_host_come_from_where_they_may(
    program: Program, before: Kept, path: str
) -> None:
    """149: no manifest reads what its author could not."""
    link = program.root / "sources/link"
    link.unlink(missing_ok=True)
    link.symlink_to(program.root / "state/token")
    file = path.format(root=program.root)
    spec = {"type": "libvirt", "format": "raw", "file": file}
    answer = program.ask("POST", "/iaas/apply", {"documents": [document("Image", "evil", **spec)]})
    program.refused("I", f"I149-{path}", answer, before, file)
    assert (answer.status, answer.fields[-1]) == (422, "spec.file")


def test_a_sparse_file_of_terabytes_is_refused_unread(program: Program) -> None:
    """140"""
    path = program.root / "sources/sparse"
    with path.open("wb") as file:
        file.truncate(8 << 40)
    before = program.kept()
    spec = {"type": "libvirt", "format": "raw", "file": str(path)}
    answer = program.ask("POST", "/iaas/apply", {"documents": [document("Image", "evil", **spec)]})
    program.refused("I", "I140-sparse", answer, before, "no room")
    assert answer.status == 507


UPLOADS: dict[str, tuple[int, str, dict[str, str]]] = {
    "I140-8-eb": (400, "Content-Length", {"Content_Length": str(8 << 60)}),
    "I140-900-pb": (507, "no room", {"Content_Length": "9" * 17}),
    "I140-told-later": (507, "no room", {"Upload_Offset": "0", "Upload_Length": "9" * 17}),
    "I145-offset": (409, "Upload-Offset", {"Upload_Offset": "5"}),
    "I145-length": (400, "Upload-Length", {"Upload_Offset": "0", "Upload_Length": "5"}),
    "I145-negative": (400, "not a number", {"Upload_Offset": "-1"}),
}  # fmt: skip


@pytest.mark.parametrize("name", UPLOADS)
def test_an_upload_is_refused_unread(program: Program, before: Kept, name: str) -> None:
    status, word, headers = UPLOADS[name]
    answer = put(program, DATA, OTHER, **headers)
    program.refused("I", name, answer, before, word)
    assert answer.status == status


@pytest.mark.parametrize("kept", [0, 1, 50_000, 99_999])
def test_other_bytes_than_announced_leave_nothing(
    program: Program, before: Kept, kept: int
) -> None:
    """145, 146: also when they are right at first."""
    data = DATA[:kept] + bytes(100_000 - kept)
    answer = put(program, data, SHA256)
    program.refused("I", f"I146-right-{kept}", answer, before, "the bytes have sha256")
    assert answer.status == 422


def test_uploads_that_never_end_are_few_and_become_no_images(
    program: Program, before: Kept
) -> None:
    """148: whoever comes meanwhile is told to come back, and all others are served."""
    head = f"HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {program.token()}\r\nContent-Length: 999\r\n\r\n"
    with ExitStack() as stack:
        for number in range(100):
            connection = stack.enter_context(socket.create_connection(program.address, timeout=30))
            connection.sendall(f"PUT /iaas/blobs/{number:064x} {head}".encode() + b"x" * 10)
        until(lambda: len(list(program.images.glob("*.part"))) >= 4)
        answer = put(program, DATA)
        TALLY.add("I", "I148-among-100", answer.seconds)
        assert (answer.status, answer.headers["retry-after"]) == (429, "2")
        served = program.ask("GET", "/iaas/machines")
        assert (served.status, served.seconds < SLOWEST) == (200, True)
        assert len(list(program.images.glob("*.part"))) <= 8
    until(lambda: put(program, DATA, OTHER).status == 422)
    whole = [name for name in program.kept()[1] if not name.endswith(".part")]
    assert whole == [name for name in before[1] if not name.endswith(".part")]


@pytest.mark.parametrize("name", URLS)
def test_an_address_is_refused_and_not_repeated(program: Program, before: Kept, name: str) -> None:
    spec = {"name": "evil", "format": "raw", "sha256": SHA256, "url": URLS[name]}
    answer = program.ask("POST", "/iaas/images", spec)
    program.refused("I", name, answer, before, "https://HOST/PATH")
    assert (answer.status, answer.said["field"]) == (422, "url")
    assert "hunter2" not in answer.body.decode()
    noted = program.ask("GET", "/iaas/audit").body + (program.root / "log").read_bytes()
    assert b"hunter2" not in noted


@pytest.fixture
def failing(program: Program) -> Iterator[Callable[[str, str], str]]:
    """Why nothing comes of an image by URL."""

    def fail(name: str, url: str) -> str:
        spec = {"name": "evil", "format": "raw", "sha256": SHA256, "url": url}
        start = time.monotonic()
        made = program.ask("POST", "/iaas/images", spec)
        assert made.status == 201, made.body

        def state() -> dict[str, Any]:
            return program.ask("GET", "/iaas/images/evil").said

        until(lambda: state()["state"] == "failed")
        TALLY.add("I", name, time.monotonic() - start)
        assert SHA256 not in os.listdir(program.images)
        told = state()
        assert (told["ready"], told["size"]) == (False, 0)
        events = json.loads(program.ask("GET", "/iaas/events?kind=Image&limit=10").body)
        assert told["reason"] in [event["message"] for event in events]
        return str(told["reason"])

    yield fail
    assert program.ask("DELETE", "/iaas/images/evil", Prefer="wait=10").status == 204


@pytest.mark.parametrize("host", HOSTS)
def test_nobody_is_fetched_from_who_is_not_public(
    mirror: Mirror, failing: Callable[[str, str], str], host: str
) -> None:
    """152"""
    asked = len(mirror.asked)
    reason = failing(f"I152-{host}", mirror.url(host=host))
    assert f"{host} is not a host of the public internet" in reason
    assert len(mirror.asked) == asked


@pytest.mark.parametrize("location", [*LOCATIONS, "private", "again"])
def test_a_redirect_is_held_to_the_same(
    mirror: Mirror, failing: Callable[[str, str], str], location: str
) -> None:
    """151"""
    ways = {"private": mirror.url("/x", host="localhost"), "again": "/again"}
    where = ways.get(location, location)
    mirror.behaviour = lambda request: request.head(302, Location=where, Content_Length="0")
    said = {"private": "localhost is not a host of the public", "again": "more than 3 redirects"}
    reason = failing(f"I151-{location}", mirror.url(host="127.0.0.1"))
    assert said.get(location, "redirects to what is no plain https address") in reason
    assert "hunter2" not in reason


def short(request: Request) -> None:
    request.give(DATA, length=len(DATA) + 1)


def huge(request: Request) -> None:
    request.head(200, Content_Length=str(10**16))


def packed(request: Request) -> None:
    request.head(200, Content_Length="1000", Content_Encoding="gzip")


def nonsense(request: Request) -> None:
    request.wfile.write(b"\x00\x01SSH-2.0-OpenSSH\r\n" * 10)


@pytest.mark.parametrize(
    ("behaviour", "word"),
    [
        (lambda request: request.give(bytes(100_000)), "the bytes have sha256"),
        (lambda request: request.give(DATA[:-1] + b"x"), "the bytes have sha256"),
        (lambda request: request.give(DATA, length=1000), "the bytes have sha256"),
        (lambda request: request.head(404, Content_Length="0"), "answered 404"),
        (short, "broke"),
        (huge, "no room"),
        (packed, "encoded"),
        (nonsense, "cannot be reached"),
    ],
    ids=["other", "right-at-first", "longer", "missing", "shorter", "huge", "packed", "nonsense"],
)  # fmt: skip
def test_what_comes_is_not_what_was_promised(
    mirror: Mirror,
    failing: Callable[[str, str], str],
    behaviour: Callable[[Request], None],
    word: str,
) -> None:
    """145, 146, 155"""
    mirror.behaviour = behaviour
    assert word in failing(f"I155-{word}", mirror.url("/x?secret=1", host="127.0.0.1"))


NAMES = [
    "Disk",
    "DISK",
    "d\u0131sk",
    "dіsk",
    "disk\u200b",
    "disk\n",
    "ｄｉｓｋ",
    "disk.",
    "../disk",
    "-disk",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_no_name_only_looks_like_another(program: Program, before: Kept, name: str) -> None:
    """157"""
    spec = {"name": name, "registry": f"nginx@sha256:{OTHER}"}
    answer = program.ask("POST", "/iaas/images", spec)
    program.refused("I", f"I157-{name!a}", answer, before, "use 1-63 characters")
    assert (answer.status, answer.said["field"]) == (422, "name")


def test_the_first_who_takes_a_name_has_it(program: Program) -> None:
    """157"""
    spec = {"name": "taken", "registry": f"nginx@sha256:{OTHER}"}
    assert program.ask("POST", "/iaas/images", spec).status == 201
    before = program.kept()
    answer = program.ask("POST", "/iaas/images", spec | {"registry": f"evil@sha256:{SHA256}"})
    program.refused("I", "I157-again", answer, before, "taken")
    assert answer.status == 409
    images = [document("Image", "taken", type="docker", registry=f"evil@sha256:{SHA256}")]
    answer = program.ask("POST", "/iaas/apply", {"source": "set:evil", "documents": images})
    program.refused("I", "I157-set", answer, before, "api")
    assert answer.status == 409
    assert program.ask("DELETE", "/iaas/images/taken", Prefer="wait=10").status == 204
