"""Hostile bodies: refused before they are read where that is possible, and never stored.

Numbers name cases of the list in `tests.hostile.numbers`.
"""

import json
from typing import Any

import pytest

from tests.reconciler.hostile import APPLY, MIB, Unread, refused
from tests.reconciler.world import (
    BYTES,
    SHA256,
    World,
    image,
    machine,
    node,
    raw,
    unchecked,
)

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
        (b'{"documents":[],"prune":1}', "prune is an integer, not true or false"),
        (b'{"documents":[],"prune":"true"}', "prune is a string"),
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


# -- bytes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["+5", "-1", "9" * 40], ids=repr)
def test_uploads_need_a_plain_length(world: World, length: str) -> None:

    environ = {"CONTENT_LENGTH": length, "wsgi.input": Unread()}
    assert unchecked(world.app, "PUT", f"/iaas/blobs/{SHA256}", **environ)[0] == 400


def test_an_upload_beyond_the_disk_is_refused_unread(world: World) -> None:
    environ = {"CONTENT_LENGTH": "9" * 17, "wsgi.input": Unread()}
    refused(world, 507, "PUT", f"/iaas/blobs/{SHA256}", **environ)


def test_an_upload_that_ends_early_is_no_image(world: World) -> None:
    path = f"/iaas/blobs/{SHA256}"
    refused(world, 400, "PUT", path, BYTES[:-1], CONTENT_LENGTH=str(len(BYTES)))
    assert not world.library.has(SHA256)
    assert world.library.kept(SHA256) == len(BYTES) - 1


@pytest.mark.parametrize("value", ["-1", "+0", "0x1", "1_0", " 1", "9" * 19, "１"], ids=ascii)
@pytest.mark.parametrize("name", ["HTTP_UPLOAD_OFFSET", "HTTP_UPLOAD_LENGTH"])
def test_offsets_and_lengths_are_plain_numbers(world: World, name: str, value: str) -> None:
    data = refused(world, 400, "PUT", f"/iaas/blobs/{SHA256}", BYTES, **{name: value})
    assert data["message"].endswith("is not a number")


def test_a_piece_beyond_the_length_of_the_whole_is_refused(world: World) -> None:
    environ = {"HTTP_UPLOAD_OFFSET": "0", "HTTP_UPLOAD_LENGTH": "5", "wsgi.input": Unread()}
    refused(world, 400, "PUT", f"/iaas/blobs/{SHA256}", BYTES, **environ)


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


def test_more_values_than_any_set_has_are_refused_before_they_are_made(world: World) -> None:
    """Sixty megabytes of `[]` would be gigabytes in memory."""
    body = b'{"documents":[' + b"[]," * 2_000_001 + b"1]}"
    assert "4000000 values" in refused(world, 413, "POST", APPLY, body)["message"]


def test_few_large_submissions_are_taken_at_once_and_small_ones_pass(world: World) -> None:
    body = b'{"documents":[]}'
    with world.deps.large_submissions.take(), world.deps.large_submissions.take():
        refused(world, 429, "POST", APPLY, CONTENT_LENGTH=str(MIB + 1), **{"wsgi.input": Unread()})
        assert raw(world.app, "POST", APPLY, body.ljust(MIB))[0] == 200
    assert raw(world.app, "POST", APPLY, body.ljust(MIB + 1))[0] == 200


def test_a_set_of_nonsense_answers_with_so_many_faults_and_no_more(world: World) -> None:
    body = b'{"documents":[' + b"1," * 4999 + b"1]}"
    data = refused(world, 422, "POST", APPLY, body)
    assert (len(data["faults"]), data["message"]) == (1000, "5000 faults; nothing was changed")


def test_of_a_set_that_is_all_wrong_the_rest_is_not_looked_at(world: World) -> None:
    body = b'{"documents":[' + b"1," * 199_999 + b"1]}"
    data = refused(world, 422, "POST", APPLY, body)
    assert data["message"] == "more than 5000 faults; nothing was changed"
