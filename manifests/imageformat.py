"""What the bytes of an image must look like for the format that was declared; nothing is probed.

Here: reading headers, with bounded memory, before any other program sees the file: qemu follows what
a qcow2 header names (other files of the host, secrets, sizes), so the header must name nothing. Not
here: what is inside the disk or the layers, nor quotas; the size a disk will have is returned.
"""

import struct
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from manifests.kinds.image import ImageFormat

KIB, MIB, TIB = 1 << 10, 1 << 20, 1 << 40
LARGEST_DISK = 2 * TIB
"""A file of a few bytes may claim any size, and the machine's disk may grow to it on its node."""
LARGEST_TABLE = 32 * MIB
"""For a qcow2's L1 and refcount tables, which qemu reads into memory; qemu's own limits."""
LARGEST_READ = MIB
MOST_MEMBERS = 20_000

MAGIC = b"QFI\xfb"
OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, MAGIC, "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"QED\0", "qed"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vpc"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
)
"""What other formats have where: declared as raw, one of these is a mistake, or a trap for any program
that guesses."""
PACKED = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"PK\3\4": "zip",
}
HEADER_2 = struct.Struct(">4sIQIIQIIQQIIQ")
HEADER_3 = struct.Struct(">QQQII")
EXTENDED_L2 = 1 << 4
HARMLESS_FEATURES = 1 << 3 | EXTENDED_L2
"""Incompatible features that name nothing outside: compression type, extended L2 entries."""
FEATURES = {
    1 << 0: "was not closed cleanly (qemu-img check -r all)",
    1 << 1: "is marked as corrupt",
    1 << 2: "keeps its data in another file",
}
EXTENSIONS = {
    0xE2792ACA: "names the format of a backing file",
    0x44415441: "names another file for its data",
    0x0537BE77: "is encrypted",
}


class _Header(NamedTuple):
    """A qcow2's first fields, as HEADER_2 reads them."""

    magic: bytes
    version: int
    backing: int
    backing_length: int
    cluster_bits: int
    disk: int
    encryption: int
    l1_size: int
    l1_at: int
    refcounts_at: int
    refcount_clusters: int
    snapshots: int
    snapshots_at: int


class FormatError(ValueError):
    """The bytes are not what was declared, or not safe to use. The message starts with a verb."""


class WaryFile:
    """A file for tarfile, which reads a header's extensions whole, however large they say they are."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell = file.tell
        self.seek = file.seek

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_READ:
            raise FormatError("has a header that is too large")
        return self._file.read(size)


def check(format_: ImageFormat, file: IO[bytes], size: int) -> int | None:
    """Refuse (FormatError) the `size` bytes of `file` unless they are a safe image of this format.

    Returns the size in bytes of the disk that a machine will see, None where it sees no disk.
    """
    file.seek(0)
    head = file.read(4 * KIB)
    if size == 0 or not head:
        raise FormatError("is empty")
    for magic, name in PACKED.items():
        if head.startswith(magic):
            raise FormatError(f"is packed with {name}; unpack it first")
    return CHECKS[format_](file, size)


def _raw(file: IO[bytes], size: int) -> int:
    if size > LARGEST_DISK:
        raise FormatError("is larger than 2 TiB")
    if other := _other(file, size):
        hint = "declare that" if other == "qcow2" else f"qemu-img convert -f {other} -O raw IN OUT"
        raise FormatError(f"is a {other}, not raw; {hint}")
    return size


def _other(file: IO[bytes], size: int) -> str:
    """The format that a file has which is declared as raw, where it is one that is known."""
    file.seek(0)
    head = file.read(4 * KIB)
    for at, magic, name in OTHERS:
        if head[at:].startswith(magic):
            return name
    file.seek(max(0, size - 512))
    if file.read(8) == b"conectix":
        return "vpc"
    # A vmdk of several files begins with a text that names them.
    lines = (line.strip() for line in head.split(b"\n"))
    said = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return "vmdk" if said.replace(b" ", b"").startswith(b"version=") else ""


def _qcow2(file: IO[bytes], size: int) -> int:
    file.seek(0)
    head = file.read(64 * KIB)
    if len(head) < HEADER_2.size or not head.startswith(MAGIC):
        raise FormatError("is not a qcow2: it does not begin with its magic number")
    header = _Header(*HEADER_2.unpack_from(head))
    _refuse_what_it_names(header)
    if not 9 <= header.cluster_bits <= 21:
        raise FormatError(f"has clusters of 2^{header.cluster_bits} bytes")
    features, length = _version_3(head) if header.version == 3 else (0, HEADER_2.size)
    if not 0 < header.disk <= LARGEST_DISK:
        raise FormatError("has a disk of size 0 or of more than 2 TiB")
    cluster = 1 << header.cluster_bits
    _table("L1", header.l1_at, 8 * header.l1_size, size)
    _table("refcount", header.refcounts_at, header.refcount_clusters * cluster, size)
    entries = cluster // (16 if features & EXTENDED_L2 else 8)
    if header.l1_size < -(-header.disk // (entries * cluster)):
        raise FormatError("has an L1 table that is too small for its disk")
    for kind in _extensions(head[:cluster], length):
        if kind in EXTENSIONS:
            raise FormatError(EXTENSIONS[kind])
    return header.disk


def _refuse_what_it_names(header: _Header) -> None:
    if header.version not in (2, 3):
        raise FormatError(f"is a qcow2 of version {header.version}, not 2 or 3")
    if header.backing or header.backing_length:
        raise FormatError("has a backing file; flatten it: qemu-img convert -O qcow2 IN OUT")
    if header.encryption:
        raise FormatError("is encrypted")
    if header.snapshots:
        raise FormatError("has internal snapshots; drop them: qemu-img convert -O qcow2 IN OUT")


def _version_3(head: bytes) -> tuple[int, int]:
    """(incompatible features, length of the header)"""
    if len(head) < HEADER_2.size + HEADER_3.size:
        raise FormatError("is cut short")
    features, _, _, refcount_order, length = HEADER_3.unpack_from(head, HEADER_2.size)
    for bit, what in FEATURES.items():
        if features & bit:
            raise FormatError(what)
    if features & ~HARMLESS_FEATURES:
        raise FormatError(f"needs features that are not known here ({features:#x})")
    if refcount_order > 6:
        raise FormatError(f"has reference counts of 2^{refcount_order} bits")
    if not HEADER_2.size + HEADER_3.size <= length <= 4 * KIB or length % 8:
        raise FormatError(f"has a header of {length} bytes")
    return features, length


def _table(name: str, at: int, length: int, size: int) -> None:
    if not 0 < length <= LARGEST_TABLE:
        raise FormatError(f"has an {name} table of {length} bytes")
    if at % 512 or at < 512 or at + 8 > size:
        raise FormatError(f"has its {name} table outside of the file")


def _extensions(head: bytes, at: int) -> Iterator[int]:
    """The types of the header extensions."""
    while at + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, at)
        if kind == 0:
            return
        yield kind
        at += 8 + -(-length // 8) * 8
    raise FormatError("has a header that does not end")


def _docker_archive(file: IO[bytes], _size: int) -> None:
    """Lightly: the driver reads all of it before the engine does."""
    file.seek(0)
    try:
        with tarfile.open(fileobj=WaryFile(file), mode="r:") as tar:  # type: ignore[call-overload]
            for count, member in enumerate(tar):
                if member.name.removeprefix("./") == "manifest.json" and member.isreg():
                    return
                if count > MOST_MEMBERS:
                    raise FormatError(f"has more than {MOST_MEMBERS} members")
    except FormatError:
        raise
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
        raise FormatError(f"is not an uncompressed tar ({error})") from None
    raise FormatError("has no manifest.json: it is not what `docker save` writes")


CHECKS: dict[ImageFormat, Callable[[IO[bytes], int], int | None]] = {
    ImageFormat.RAW: _raw,
    ImageFormat.QCOW2: _qcow2,
    ImageFormat.DOCKER_ARCHIVE: _docker_archive,
}
