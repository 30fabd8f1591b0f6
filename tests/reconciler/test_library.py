"""The image library: whole and verified, or not there."""

import hashlib
import io
import os
import stat
from pathlib import Path

import pytest

from reconciler.images import BadBytes, Library, LibraryFull

DATA = os.urandom(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


class Broken(io.RawIOBase):
    """A client that goes away in the middle."""

    def read(self, _size: int = -1) -> bytes:
        raise TimeoutError("timed out")


def library(root: Path) -> Library:
    return Library(root / "images", reserve=0)


def test_bytes_that_were_put_can_be_read(tmp_path: Path) -> None:
    found = library(tmp_path)
    assert not found.has(SHA256)
    assert found.size(SHA256) == 0
    found.put(SHA256, io.BytesIO(DATA), len(DATA))
    assert found.has(SHA256)
    assert found.size(SHA256) == len(DATA)
    with found.open(SHA256) as file:
        assert file.read() == DATA
    assert stat.S_IMODE(found.path(SHA256).stat().st_mode) == 0o600
    assert stat.S_IMODE(found.root.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("data", "length", "message"),
    [
        pytest.param(DATA[:-1], len(DATA), "only 2999999 of 3000000 bytes came", id="too-few"),
        pytest.param(DATA[:-1] + b"!", len(DATA), "the bytes have sha256", id="last-byte-differs"),
        pytest.param(DATA + b"!", len(DATA) + 1, "the bytes have sha256", id="one-more"),
        pytest.param(DATA, 10, "the bytes have sha256", id="announced-less"),
        pytest.param(b"", 0, "the bytes have sha256", id="nothing"),
    ],
)
def test_other_bytes_leave_nothing(tmp_path: Path, data: bytes, length: int, message: str) -> None:
    found = library(tmp_path)
    with pytest.raises(BadBytes, match=message):
        found.put(SHA256, io.BytesIO(data), length)
    assert list(found.root.iterdir()) == []


def test_bytes_are_on_the_disk_before_they_have_their_name_and_the_name_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, synced = library(tmp_path), []

    def fsync(opened: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(opened).st_mode), found.has(SHA256)))

    monkeypatch.setattr(os, "fsync", fsync)
    found.put(SHA256, io.BytesIO(DATA), len(DATA))
    assert synced == [(False, False), (True, True)]


def test_only_the_announced_length_is_read(tmp_path: Path) -> None:
    stream = io.BytesIO(DATA + b"the next request")
    library(tmp_path).put(SHA256, stream, len(DATA))
    assert stream.read() == b"the next request"


def test_an_upload_that_breaks_off_is_the_senders_fault_and_leaves_nothing(tmp_path: Path) -> None:
    found = library(tmp_path)
    with pytest.raises(BadBytes, match="the upload broke off"):
        found.put(SHA256, Broken(), 100)
    assert list(found.root.iterdir()) == []


def test_too_little_room_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    found = Library(tmp_path / "images", reserve=1 << 60)
    with pytest.raises(LibraryFull, match="no room for 100 bytes: 0 are free"):
        found.put(SHA256, Broken(), 100)


@pytest.mark.parametrize("name", ["..", "../db", "", "A" * 64, SHA256 + "\n", SHA256 + "/x"])
def test_only_digests_are_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a sha256"):
        library(tmp_path).open(name)


def test_what_a_crash_left_behind_is_removed_at_the_start(tmp_path: Path) -> None:
    found = library(tmp_path)
    found.put(SHA256, io.BytesIO(DATA), len(DATA))
    (found.root / f"{SHA256}.0123.part").write_bytes(b"half")
    again = library(tmp_path)
    assert [file.name for file in again.root.iterdir()] == [SHA256]


def test_unused_bytes_go_unless_they_are_young(tmp_path: Path) -> None:
    found = library(tmp_path)
    files = {}
    for age in (10, 5000, 6000):
        data = str(age).encode()
        name = files[age] = hashlib.sha256(data).hexdigest()
        found.put(name, io.BytesIO(data), len(data))
        os.utime(found.path(name), (100_000 - age, 100_000 - age))
    found.keep({files[6000]}, now=100_000)
    assert {file.name for file in found.root.iterdir()} == {files[10], files[6000]}
