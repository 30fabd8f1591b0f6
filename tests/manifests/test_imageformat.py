"""Headers of images: what qemu itself makes is accepted, what leads elsewhere is refused."""

import io
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from manifests.imageformat import FormatError, check
from manifests.kinds.image import ImageFormat

GIB = 1 << 30


def qcow2(**changes: int | bytes) -> bytes:
    """A small qcow2 of one GiB, as far as its header goes."""
    fields: dict[str, int | bytes] = {
        "magic": b"QFI\xfb",
        "version": 3,
        "backing": 0,
        "backing_length": 0,
        "cluster_bits": 16,
        "disk": GIB,
        "crypt": 0,
        "l1_size": 2,
        "l1_at": 3 << 16,
        "refcounts_at": 1 << 16,
        "refcount_clusters": 1,
        "snapshots": 0,
        "snapshots_at": 0,
        "incompatible": 0,
        "compatible": 0,
        "autoclear": 0,
        "refcount_order": 4,
        "length": 104,
        "extensions": b"",
        "size": 4 << 16,
    }
    assert set(changes) <= set(fields)
    fields |= changes
    size, extensions = fields.pop("size"), fields.pop("extensions")
    assert isinstance(size, int)
    assert isinstance(extensions, bytes)
    head = struct.pack(">4sIQIIQIIQQIIQQQQII", *fields.values()) + extensions
    return head.ljust(size, b"\0")[:size]


def checked(data: bytes, format_: ImageFormat = ImageFormat.QCOW2) -> int | None:
    return check(format_, io.BytesIO(data), len(data))


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)


def test_a_plain_qcow2_is_accepted_and_tells_its_disk() -> None:
    assert checked(qcow2()) == GIB
    assert checked(qcow2(version=2, incompatible=0)) == GIB
    assert checked(qcow2(extensions=extension(0x6803F857, bytes(48)))) == GIB
    assert checked(qcow2(incompatible=1 << 3)) == GIB
    assert checked(qcow2(incompatible=1 << 4, l1_size=4)) == GIB


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"magic": b"QFI\0"}, "magic"),
        ({"size": 40}, "magic"),
        ({"size": 80}, "cut short"),
        ({"version": 1}, "version 1"),
        ({"version": 4}, "version 4"),
        ({"backing": 512, "backing_length": 11}, "backing file"),
        ({"backing": 512}, "backing file"),
        ({"backing_length": 9}, "backing file"),
        ({"crypt": 1}, "encrypted"),
        ({"crypt": 2}, "encrypted"),
        ({"snapshots": 1}, "snapshots"),
        ({"cluster_bits": 8}, "clusters"),
        ({"cluster_bits": 63}, "clusters"),
        ({"disk": 0}, "disk of size 0"),
        ({"disk": 1 << 63}, "64 TiB"),
        ({"l1_size": 1}, "too small"),
        ({"l1_size": 2, "incompatible": 1 << 4}, "too small"),
        ({"l1_size": 0}, "L1 table"),
        ({"l1_size": 1 << 31}, "L1 table"),
        ({"l1_at": 0}, "L1 table"),
        ({"l1_at": 513}, "L1 table"),
        ({"l1_at": 1 << 62}, "L1 table"),
        ({"refcount_clusters": 0}, "refcount table"),
        ({"refcount_clusters": 1 << 31}, "refcount table"),
        ({"refcounts_at": 1 << 40}, "refcount table"),
        ({"refcount_order": 40}, "reference counts"),
        ({"length": 1 << 31}, "header of"),
        ({"length": 72}, "header of"),
        ({"incompatible": 1 << 0}, "closed cleanly"),
        ({"incompatible": 1 << 1}, "corrupt"),
        ({"incompatible": 1 << 2}, "another file"),
        ({"incompatible": 1 << 5}, "not known"),
        ({"incompatible": 1 << 63}, "not known"),
        ({"extensions": extension(0x44415441, b"/etc/shadow")}, "another file"),
        ({"extensions": extension(0xE2792ACA, b"raw")}, "backing"),
        ({"extensions": extension(1, b"x") + extension(0x0537BE77, bytes(16))}, "encrypted"),
        ({"extensions": extension(1, bytes(65536 - 104 - 8))}, "does not end"),
        ({"extensions": struct.pack(">II", 1, 0xFFFFFFFF)}, "does not end"),
    ],
)
def test_what_is_refused(changes: dict[str, int | bytes], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        checked(qcow2(**changes))


def test_a_raw_disk_may_hold_anything_but_nothing() -> None:
    assert checked(qcow2(), ImageFormat.RAW) == 4 << 16
    with pytest.raises(FormatError, match="empty"):
        checked(b"", ImageFormat.RAW)
    with pytest.raises(FormatError, match="64 TiB"):
        check(ImageFormat.RAW, io.BytesIO(), 8 << 60)


def test_a_docker_archive_has_a_manifest() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("layer"))
    with pytest.raises(FormatError, match=r"no manifest\.json"):
        checked(buffer.getvalue(), ImageFormat.DOCKER_ARCHIVE)

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("./manifest.json"))
    assert checked(buffer.getvalue(), ImageFormat.DOCKER_ARCHIVE) is None


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b" + bytes(600), b"x" * 2000])
def test_what_is_no_tar_is_no_docker_archive(data: bytes) -> None:
    with pytest.raises(FormatError):
        checked(data, ImageFormat.DOCKER_ARCHIVE)


def test_headers_that_chain_without_end_are_refused() -> None:
    extended = tarfile.TarInfo("x")
    extended.type, extended.size = tarfile.XHDTYPE, 0
    with pytest.raises(FormatError, match="not an uncompressed tar"):
        checked(extended.tobuf() * 5000 + bytes(1024), ImageFormat.DOCKER_ARCHIVE)


needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="no qemu-img here")


def made_by_qemu(path: Path, *arguments: str) -> bytes:
    *options, size = arguments
    command = ["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), size]
    subprocess.run(command, check=True)
    return path.read_bytes()


@needs_qemu
@pytest.mark.parametrize(
    "options",
    [
        "compat=0.10",
        "compat=1.1",
        "cluster_size=512",
        "cluster_size=2M",
        "cluster_size=64k,extended_l2=on",
        "compression_type=zstd",
        "preallocation=metadata",
        "lazy_refcounts=on",
        "refcount_bits=64",
    ],
)
@pytest.mark.parametrize("size", ["1M", "10G"])
def test_what_qemu_makes_is_accepted(tmp_path: Path, options: str, size: str) -> None:
    if options.startswith("preallocation"):
        size = "1M"
    data = made_by_qemu(tmp_path / "a", "-o", options, size)

    assert checked(data) == {"1M": 1 << 20, "10G": 10 * GIB}[size]


@needs_qemu
def test_what_qemu_makes_with_a_backing_or_data_file_is_refused(tmp_path: Path) -> None:
    made_by_qemu(tmp_path / "base", "1M")
    with pytest.raises(FormatError, match="backing"):
        checked(made_by_qemu(tmp_path / "a", "-b", str(tmp_path / "base"), "-F", "qcow2", "1M"))
    with pytest.raises(FormatError, match="another file"):
        checked(made_by_qemu(tmp_path / "b", "-o", f"data_file={tmp_path}/data", "1M"))
    subprocess.run(["qemu-img", "snapshot", "-c", "s", tmp_path / "base"], check=True)
    with pytest.raises(FormatError, match="snapshots"):
        checked((tmp_path / "base").read_bytes())
