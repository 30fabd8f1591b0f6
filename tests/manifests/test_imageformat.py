"""Headers of images: what qemu itself makes is accepted, what leads elsewhere is refused."""

import bz2
import gzip
import io
import lzma
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ({"disk": 1 << 63}, "2 TiB"),
        ({"disk": 60 * 10**12, "l1_size": 120_000}, "2 TiB"),
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


def test_a_raw_disk_may_hold_anything_but_another_format() -> None:
    boot = b"\xeb\x63\x90".ljust(510, b"\0") + b"\x55\xaa"
    for data in (boot, bytes(512), b"#!ipxe\nkernel x\n", b"version", b"\n" * 5000, b"x"):
        assert checked(data, ImageFormat.RAW) == len(data)
    with pytest.raises(FormatError, match="empty"):
        checked(b"", ImageFormat.RAW)
    with pytest.raises(FormatError, match="2 TiB"):
        check(ImageFormat.RAW, io.BytesIO(b"x"), 8 << 60)


DESCRIPTOR = b"""# Disk DescriptorFile
version=1
CID=ef30cd5b
createType="monolithicFlat"
RW 16384 FLAT "/etc/shadow" 0
"""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (qcow2(), "is a qcow2, not raw; declare that"),
        (DESCRIPTOR, "is a vmdk, not raw; qemu-img convert -f vmdk -O raw"),
        (DESCRIPTOR.replace(b"# Disk DescriptorFile\n", b"\n  # x\n\t\n"), "is a vmdk"),
        (DESCRIPTOR.replace(b"version=1", b" version = 1"), "is a vmdk"),
        (b"KDMV" + bytes(508), "is a vmdk"),
        (b"COWD" + bytes(508), "is a vmdk"),
        (b"QED\0" + bytes(508), "is a qed"),
        (b"vhdxfile" + bytes(504), "is a vhdx"),
        (bytes(1024) + b"conectix".ljust(512, b"\0"), "is a vpc"),
        (b"WithoutFreeSpace" + bytes(500), "is a parallels"),
        (b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64) + b"\x7f\x10\xda\xbe", "is a vdi"),
    ],
)
def test_what_is_another_format_is_not_raw(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        checked(data, ImageFormat.RAW)


@pytest.mark.parametrize(
    "format_", [ImageFormat.RAW, ImageFormat.QCOW2, ImageFormat.DOCKER_ARCHIVE]
)
@pytest.mark.parametrize(
    ("pack", "name"),
    [(gzip.compress, "gzip"), (lzma.compress, "xz"), (bz2.compress, "bzip2")],
    ids=["gzip", "xz", "bzip2"],
)
def test_what_is_packed_is_not_unpacked_here(
    pack: Callable[[bytes], bytes], name: str, format_: ImageFormat
) -> None:
    with pytest.raises(FormatError, match=f"is packed with {name}; unpack it first"):
        checked(pack(bytes(1 << 20)), format_)


@pytest.mark.parametrize("data", [b"\x28\xb5\x2f\xfd" + bytes(600), b"PK\3\4" + bytes(600)])
def test_nor_is_zstd_nor_zip(data: bytes) -> None:
    with pytest.raises(FormatError, match="is packed with z"):
        checked(data, ImageFormat.RAW)


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


@given(
    st.sampled_from([ImageFormat.RAW, ImageFormat.QCOW2, ImageFormat.DOCKER_ARCHIVE]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=8),
    st.sampled_from([qcow2(), qcow2(version=2), DESCRIPTOR, tarfile.TarInfo("x").tobuf(), b""]),
)
def test_any_header_is_accepted_or_refused_in_words(
    format_: ImageFormat, changes: list[tuple[int, int]], start: bytes
) -> None:
    data = bytearray(start)
    for at, value in changes:
        data[at : at + 1] = bytes([value])
    disk, reason = None, "accepted"
    try:
        disk = checked(bytes(data), format_)
    except FormatError as error:
        reason = str(error)
    assert reason.isprintable()
    assert disk is None or 0 < disk <= 2 << 40


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


@needs_qemu
@pytest.mark.parametrize(
    "options",
    [
        "-f qcow2",
        "-f qed",
        "-f vdi",
        "-f vmdk",
        "-f vmdk -o subformat=monolithicFlat",
        "-f vmdk -o subformat=streamOptimized",
        "-f vhdx",
        "-f vpc",
        "-f vpc -o subformat=fixed",
        "-f parallels",
    ],
)
def test_what_qemu_makes_of_another_format_is_not_raw(tmp_path: Path, options: str) -> None:
    path = tmp_path / "a"
    subprocess.run(["qemu-img", "create", "-q", *options.split(), str(path), "8M"], check=True)
    with pytest.raises(FormatError, match=r"is a \w+, not raw"):
        checked(path.read_bytes(), ImageFormat.RAW)


@needs_qemu
def test_sixty_terabytes_in_a_small_file_are_refused(tmp_path: Path) -> None:
    data = made_by_qemu(tmp_path / "a", "-o", "cluster_size=2M", "60T")
    assert len(data) < 9_000_000
    with pytest.raises(FormatError, match="2 TiB"):
        checked(data)
