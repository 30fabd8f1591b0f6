"""Layers that become more than they look like, before any engine unpacks them."""

import gzip
import io
import json
import subprocess
import tarfile
import tracemalloc
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from hyper.drivers import docker_layers
from hyper.drivers.docker_archive import ArchiveError, rewritten
from tests.docker_images import Entry, tar

MIB = 1 << 20
FILE = tar([("a", b"a" * 5000), ("b", b"b" * 100_000)])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """All layers together may become 8 MiB more than twice the archive."""
    monkeypatch.setattr(docker_layers, "ALLOWED", 8 * MIB)
    monkeypatch.setattr(docker_layers, "TIMES", 2)


def archive(path: Path, *layers: bytes, named: int = 1) -> Path:
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    image = {"Config": "c.json", "Layers": names * named}
    entries: list[Entry] = [("c.json", b"{}"), ("manifest.json", json.dumps([image]).encode())]
    path.write_bytes(tar(entries + list(zip(names, layers, strict=True))))
    return path


def refusal(path: Path, *layers: bytes, named: int = 1) -> str:
    with pytest.raises(ArchiveError) as caught:
        next(rewritten(archive(path, *layers, named=named), "a:b"))
    return str(caught.value)


def accepted(path: Path, *layers: bytes, named: int = 1) -> None:
    assert b"".join(rewritten(archive(path, *layers, named=named), "a:b"))


def zstd(data: bytes, *options: str) -> bytes:
    command = ["zstd", "--quiet", "--stdout", *options]
    try:
        return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout
    except FileNotFoundError:
        pytest.skip("no zstd here")


def rle(blocks: int) -> bytes:
    """A zstd frame that says nothing of its size: so many times 128 KiB of one byte, in four bytes each."""
    block = (1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x58" + block * blocks + b"\x01\x00\x00"


def stored(data: bytes) -> bytes:
    packing = zlib.compressobj(0, wbits=31)
    return packing.compress(data) + packing.flush()


@pytest.mark.parametrize(
    "pack",
    [
        bytes,
        gzip.compress,
        stored,
        lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]),
        zstd,
        lambda data: zstd(data, "--no-content-size", "--check"),
        lambda data: zstd(data[:700]) + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstd(data[700:]),
        lambda data: zstd(data, "-19", "--long=27"),
    ],
    ids=["plain", "gzip", "stored", "two-gzips", "zstd", "streamed", "two-frames", "long"],
)
def test_what_is_packed_usually_passes(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    accepted(tmp_path / "a", pack(FILE), pack(FILE))


def test_a_megabyte_that_becomes_gigabytes_is_refused(tmp_path: Path) -> None:
    layer = bomb()
    assert len(layer) < MIB
    tracemalloc.start()
    assert "unpacks to more than" in refusal(tmp_path / "a", layer)
    assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    tracemalloc.stop()


def bomb() -> bytes:
    packing = zlib.compressobj(9, wbits=31)
    return b"".join([*(packing.compress(bytes(MIB)) for _ in range(200)), packing.flush()])


@pytest.mark.parametrize(
    "layer",
    [
        lambda: zstd(bytes(50 * MIB)),
        lambda: zstd(bytes(50 * MIB), "--no-content-size"),
        lambda: rle(10_000),
        lambda: b"\x28\xb5\x2f\xfd\xe0" + (1 << 50).to_bytes(8, "little") + b"\x01\0\0",
        lambda: zstd(FILE) + rle(10_000),
    ],
    ids=["told", "not-told", "repeated", "claimed", "behind-another"],
)
def test_zstd_is_counted_without_unpacking(tmp_path: Path, layer: Callable[[], bytes]) -> None:
    assert "unpacks to more than" in refusal(tmp_path / "a", layer())


def test_many_small_ones_count_together(tmp_path: Path) -> None:
    layer = gzip.compress(bytes(3 * MIB))
    accepted(tmp_path / "a", layer, layer)
    assert "unpacks to more than" in refusal(tmp_path / "a", layer, layer, layer)


def test_a_layer_counts_as_often_as_it_is_named(tmp_path: Path) -> None:
    layer = gzip.compress(bytes(MIB))
    accepted(tmp_path / "a", layer, named=7)
    assert "unpacks to more than" in refusal(tmp_path / "a", layer, named=9)


def test_so_does_one_that_links_lead_to(tmp_path: Path) -> None:
    links = [tarfile.TarInfo(f"l{number}") for number in range(9)]
    for link in links:
        link.type, link.linkname = tarfile.SYMTYPE, "layer"
    image = {"Config": "c.json", "Layers": [link.name for link in links]}
    entries: list[Entry] = [
        ("c.json", b"{}"),
        ("layer", gzip.compress(bytes(MIB))),
        *links,
        ("manifest.json", json.dumps([image]).encode()),
    ]
    (tmp_path / "a").write_bytes(tar(entries))
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        next(rewritten(tmp_path / "a", "a:b"))


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (b"BZh91AY&SY", "packed with bzip2"),
        (b"\xfd7zXZ\0\0", "packed with xz"),
        (b"\x1f\x8b" + b"\xff" * 100, "broken layer"),
        (b"\x28\xb5\x2f\xfd\x00\x58\x07\0\0", "broken layer"),
        (b"\x28\xb5\x2f\xfd\x00\x58" + b"\xf4\xff\x0f" + b"x" * 50, "cut short"),
        (b"\x28\xb5\x2f\xfd\x00\x58" + b"\x02\x00\x00x" * 3 + b"\x01\x00\x00nonsense", "broken"),
    ],
)
def test_what_is_packed_otherwise_or_broken_is_refused(
    tmp_path: Path, layer: bytes, why: str
) -> None:
    assert why in refusal(tmp_path / "a", layer)


def old_sparse() -> bytes:
    info = tarfile.TarInfo("big")
    info.type = tarfile.GNUTYPE_SPARSE
    return info.tobuf(tarfile.GNU_FORMAT)


def records(**more: str) -> bytes:
    info = tarfile.TarInfo("big")
    info.pax_headers = more
    return info.tobuf(tarfile.PAX_FORMAT)


SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}


def hidden_behind(name: str, value: str, size: int) -> bytes:
    """A sparse entry that only who reads the records right will see."""
    info = tarfile.TarInfo("x")
    info.size, info.pax_headers = size, {name: value}
    return info.tobuf(tarfile.PAX_FORMAT) + old_sparse()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "layer",
    [
        old_sparse(),
        FILE[:-10240] + old_sparse() if FILE.endswith(bytes(10240)) else old_sparse(),
        records(**SPARSE),
        hidden_behind("size", "0", 512),
        hidden_behind("comment", "x\n12 size=512\n", 0),
    ],
    ids=["old", "later", "records", "size-in-records", "size-in-a-comment"],
)
def test_a_sparse_file_is_refused(
    tmp_path: Path, layer: bytes, pack: Callable[[bytes], bytes]
) -> None:
    assert "sparse file" in refusal(tmp_path / "a", pack(layer + bytes(1024)))


def test_what_gnu_tar_makes_of_a_sparse_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 34)
    for format_ in ("gnu", "posix"):
        command = ["tar", "--sparse", f"--format={format_}", "-C", str(tmp_path), "-c", "big"]
        layer = subprocess.run(command, capture_output=True, check=True).stdout
        assert len(layer) < MIB
        assert "sparse file" in refusal(tmp_path / "a", layer)


def test_entries_are_found_however_the_bytes_come() -> None:
    """Long names, records and large files, in pieces of every size."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as made:
        for number, size in enumerate((0, 1, 511, 512, 513, 70_000)):
            info = tarfile.TarInfo("n" * 60 * number or "x")
            info.size, info.pax_headers = size, {"comment": "ü" * number}
            made.addfile(info, io.BytesIO(bytes(size)))
        info = tarfile.TarInfo("l" * 300)
        info.type = tarfile.GNUTYPE_SPARSE
        made.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
    data = buffer.getvalue()
    for step in (1, 7, 511, 512, 513, 4096, len(data)):
        entries = docker_layers.Entries()
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        with pytest.raises(ValueError, match="sparse file"):
            deque(map(entries.feed, pieces), 0)
