"""The image library: whole and verified, or not there; and what was begun is not begun again."""

import hashlib
import io
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.images import (
    BadBytes,
    ImageError,
    Incomplete,
    InUse,
    Library,
    LibraryFull,
    LibraryLocked,
    WrongOffset,
)
from reconciler.images import library as bounds

DATA = os.urandom(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


class Broken(io.RawIOBase):
    """A client that goes away in the middle."""

    def read(self, _size: int = -1) -> bytes:
        raise TimeoutError("timed out")


class Losing(io.RawIOBase):
    """A client that goes away after some bytes: it ends the connection, or the connection breaks."""

    def __init__(self, data: bytes, then: bytes) -> None:
        self._data = io.BytesIO(data)
        self._then = then

    def read(self, size: int = -1) -> bytes:
        if not (data := self._data.read(size)) and self._then:
            raise ConnectionResetError("reset by peer")
        return data


def library(root: Path) -> Library:
    return Library(root / "images", reserve=0)


@contextmanager
def closed(found: Library) -> Iterator[Library]:
    yield found
    found.close()


def age(found: Library, name: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(found.root / name, (then, then))


def kept(found: Library) -> dict[int, int]:
    """Unfinished files by their number."""
    return {int(path.stem): path.stat().st_size for path in found.root.glob("*.part")}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    root = tmp_path / "disk"
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(root)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("needs to mount a disk")
    yield root
    subprocess.run(["umount", "-l", root], check=True)


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


@pytest.mark.parametrize("then", [b"", b"broken"], ids=["ends", "breaks"])
def test_what_came_before_the_connection_was_lost_is_kept_and_continued(
    tmp_path: Path, then: bytes
) -> None:
    found = library(tmp_path)
    with pytest.raises(Incomplete) as caught:
        found.receive(SHA256, Losing(DATA[:1_000_000], then), len(DATA))
    assert caught.value.kept == found.kept(SHA256) == 1_000_000
    assert not found.has(SHA256)
    rest = DATA[1_000_000:]
    assert found.receive(SHA256, io.BytesIO(rest), len(rest), offset=1_000_000) == len(DATA)
    assert (found.has(SHA256), found.kept(SHA256)) == (True, 0)
    assert found.path(SHA256).read_bytes() == DATA


def test_a_restart_keeps_what_came(tmp_path: Path) -> None:
    with closed(library(tmp_path)) as found:
        found.receive(SHA256, io.BytesIO(DATA[:100]), 100, total=len(DATA))
    with closed(library(tmp_path)) as found:
        assert found.kept(SHA256) == 100
        rest = io.BytesIO(DATA[100:])
        found.receive(SHA256, rest, len(DATA) - 100, offset=100, total=len(DATA))
        assert found.has(SHA256)


def test_many_pieces_are_one_file_and_each_is_on_the_disk_when_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, synced = library(tmp_path), []
    monkeypatch.setattr(os, "fsync", lambda opened: synced.append(os.fstat(opened).st_size))
    for at in range(0, len(DATA), 500_000):
        piece = io.BytesIO(DATA[at : at + 500_000])
        assert synced == list(range(500_000, at + 1, 500_000))
        found.receive(SHA256, piece, 500_000, offset=at, total=len(DATA))
    assert found.has(SHA256)


def test_pieces_leave_no_gap_and_do_not_overlap(tmp_path: Path) -> None:
    found = library(tmp_path)
    found.receive(SHA256, io.BytesIO(DATA[:100]), 100, total=len(DATA))
    for offset in (0, 99, 101, len(DATA)):
        with pytest.raises(WrongOffset, match="100 bytes are here") as caught:
            found.receive(SHA256, Broken(), 10, offset=offset)
        assert caught.value.kept == 100
    assert found.kept(SHA256) == 100


def test_without_an_offset_it_begins_anew(tmp_path: Path) -> None:
    found = library(tmp_path)
    found.receive(SHA256, io.BytesIO(b"nonsense"), 8, total=len(DATA))
    found.put(SHA256, io.BytesIO(DATA), len(DATA))
    assert found.has(SHA256)


def test_a_continued_file_is_verified_from_its_first_byte(tmp_path: Path) -> None:
    found = library(tmp_path)
    found.receive(SHA256, io.BytesIO(b"x" * 100), 100, total=len(DATA))
    with pytest.raises(BadBytes):
        found.receive(SHA256, io.BytesIO(DATA[100:]), len(DATA) - 100, offset=100)
    assert list(found.root.iterdir()) == []


def test_the_same_bytes_have_one_sender_at_a_time(tmp_path: Path) -> None:
    found = library(tmp_path)
    with found.writer(SHA256) as writer:
        writer.write(DATA[:10])
        with pytest.raises(InUse, match="being received already"):
            found.put(SHA256, Broken(), 10)
        other = hashlib.sha256(b"other").hexdigest()
        found.put(other, io.BytesIO(b"other"), 5)
    assert found.kept(SHA256) == 10


def test_too_little_room_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    found = Library(tmp_path / "images", reserve=1 << 60)
    with pytest.raises(LibraryFull, match="no room for 100 bytes: 0 are free"):
        found.put(SHA256, Broken(), 100)


@pytest.mark.parametrize("name", ["..", "../db", "", "A" * 64, SHA256 + "\n", SHA256 + "/x"])
def test_only_digests_are_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a sha256"):
        library(tmp_path).open(name)


def test_unfinished_files_go_when_they_are_a_day_old(tmp_path: Path) -> None:
    found = library(tmp_path)
    found.receive(SHA256, io.BytesIO(DATA[:100]), 100, total=len(DATA))
    found.keep((), now=time.time() + bounds.STALE - 60)
    assert found.kept(SHA256) == 100
    found.keep((), now=time.time() + bounds.STALE + 60)
    assert list(found.root.iterdir()) == []


def test_only_so_many_unfinished_files_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MOST_PARTIALS", 3)
    monkeypatch.setattr(bounds, "MOST_PARTIAL_BYTES", 25)
    found = library(tmp_path)
    for number in range(1, 6):
        found.receive(f"{number:064}", io.BytesIO(bytes(number)), number, total=100)
        age(found, f"{number:064}.part", 60 - number)
    assert kept(found) == {3: 3, 4: 4, 5: 5}
    found.receive(f"{9:064}", io.BytesIO(bytes(20)), 20, total=100)
    assert kept(found) == {5: 5, 9: 20}


def test_unfinished_files_give_way_when_room_is_needed(small_disk: Path) -> None:
    found = Library(small_disk, reserve=0)
    for number in range(4):
        found.receive(f"{number:064}", io.BytesIO(bytes(900_000)), 900_000, total=1_000_000)
        age(found, f"{number:064}.part", 60 - number)
    found.put(SHA256, io.BytesIO(DATA), len(DATA))
    assert found.has(SHA256)
    assert kept(found) == {3: 900_000}
    found.close()


def test_nothing_is_given_up_for_what_cannot_fit_anyway(small_disk: Path) -> None:
    found = Library(small_disk, reserve=0)
    found.receive(f"{1:064}", io.BytesIO(bytes(900_000)), 900_000, total=1_000_000)
    with pytest.raises(LibraryFull):
        found.put(SHA256, Broken(), 9_000_000)
    assert kept(found) == {1: 900_000}
    found.close()


def test_a_full_disk_leaves_nothing_half_done_and_heals(small_disk: Path) -> None:
    found = Library(small_disk, reserve=0)
    with pytest.raises(LibraryFull, match="no room for 9000000 bytes"):
        found.put(SHA256, Broken(), 9_000_000)
    with pytest.raises(LibraryFull):
        endless(found)
    ballast = small_disk / "ballast"
    with pytest.raises(LibraryFull, match="No space left"):
        robbed(found, ballast)
    assert list(small_disk.iterdir()) == [ballast]
    ballast.unlink()
    found.put(SHA256, io.BytesIO(DATA), len(DATA))
    assert found.has(SHA256)
    found.close()


def endless(found: Library) -> None:
    """Of a length that is not told."""
    with found.writer(SHA256) as writer:
        while True:
            writer.write(bytes(100_000))


def robbed(found: Library, ballast: Path) -> None:
    """Somebody else takes what was promised."""
    with found.writer(SHA256) as writer:
        writer.expect(len(DATA))
        ballast.write_bytes(bytes(2_000_000))
        writer.write(DATA)


def test_what_is_promised_to_one_is_not_promised_to_another(small_disk: Path) -> None:
    found = Library(small_disk, reserve=0)
    with found.writer("a" * 64) as writer:
        writer.expect(3_000_000)
        with pytest.raises(LibraryFull):
            found.put(SHA256, Broken(), len(DATA))
    found.put(SHA256, io.BytesIO(DATA), len(DATA))
    found.close()


def test_what_is_not_ours_in_the_directory_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    others = ["README", "debian.qcow2", "x.part", f"{SHA256}.qcow2", SHA256[:-1], SHA256.upper()]
    for name in others:
        (root / name).write_bytes(b"somebody's")
        os.utime(root / name, (0, 0))
    (root / "isos").mkdir()
    (root / f"{SHA256[:-1]}0").mkdir()
    found = library(tmp_path)
    found.keep((), now=time.time())
    names = {file.name for file in root.iterdir()}
    assert names == {*others, "isos", f"{SHA256[:-1]}0"}


def test_no_name_in_the_directory_leads_elsewhere(tmp_path: Path) -> None:
    """Who may write there over NFS must not be given the host's files, nor have them overwritten."""
    found, secret = library(tmp_path), tmp_path / "secret"
    secret.write_bytes(b"secret")
    found.path(SHA256).symlink_to(secret)
    (found.root / f"{SHA256}.part").symlink_to(secret)
    os.mkfifo(found.path("f" * 64))
    for name in (SHA256, "f" * 64):
        assert (found.has(name), found.touch(name), found.size(name)) == (False, False, 0)
        with pytest.raises(FileNotFoundError):
            found.open(name)
    assert found.kept(SHA256) == 0
    found.put(SHA256, io.BytesIO(DATA), len(DATA))
    assert found.path(SHA256).read_bytes() == DATA
    assert not found.path(SHA256).is_symlink()
    assert secret.read_bytes() == b"secret"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_another_user_put_there_is_not_an_image(tmp_path: Path) -> None:
    found = library(tmp_path)
    found.path(SHA256).write_bytes(b"planted")
    os.chown(found.path(SHA256), 65534, 65534)
    assert not found.has(SHA256)
    found.put(SHA256, io.BytesIO(DATA), len(DATA))
    assert found.path(SHA256).read_bytes() == DATA


def test_images_are_readable_for_whom_the_directory_is(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    for mode, readable in ((0o700, 0o600), (0o750, 0o640), (0o755, 0o644), (0o777, 0o644)):
        root.chmod(mode)
        found = library(tmp_path)
        found.put(SHA256, io.BytesIO(DATA), len(DATA))
        assert stat.S_IMODE(found.path(SHA256).stat().st_mode) == readable
        found.close()


@pytest.mark.parametrize(
    ("name", "why"), [("file", "File exists"), ("file/images", "Not a directory")]
)
def test_a_directory_that_cannot_be_had_is_told_in_a_sentence(
    tmp_path: Path, name: str, why: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageError) as caught:
        Library(tmp_path / name)
    words = f"{tmp_path / name} cannot be used for images: {why}; choose another with --images"
    assert str(caught.value) == words


def test_a_second_controller_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    found = library(tmp_path)
    found.receive(SHA256, io.BytesIO(DATA[:100]), 100, total=len(DATA))
    code = f"import pathlib, reconciler.images as i; i.Library(pathlib.Path({str(found.root)!r}))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "another iaas-reconciler that runs; stop it, or give this one its own" in done.stderr
    with pytest.raises(LibraryLocked):
        library(tmp_path)
    found.close()
    subprocess.run(command, check=True)


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
