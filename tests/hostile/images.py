"""Group I: hostile image files, as bytes with what they were declared to be, and hostile addresses."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
from dataclasses import dataclass

from tests.manifests.test_imageformat import DESCRIPTOR, extension, qcow2

TB = 10**12
TYPES = {"raw": "libvirt", "qcow2": "libvirt", "docker-archive": "docker"}


@dataclass(frozen=True)
class File:
    """`word` is said of it."""

    id: str
    data: bytes
    word: str
    format: str = "qcow2"


def _tar(*infos: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info in infos:
            tar.addfile(info)
    return buffer.getvalue()


def _extended(kind: bytes, size: int) -> bytes:
    """A header that says that so much more of it follows."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(4096)


NOT_RAW = {
    "vmdk-text": DESCRIPTOR,
    "vmdk": b"KDMV" + bytes(508),
    "vmdk-3": b"COWD" + bytes(508),
    "qed": b"QED\0" + bytes(508),
    "vhdx": b"vhdxfile" + bytes(504),
    "vpc": bytes(1024) + b"conectix".ljust(512, b"\0"),
    "parallels": b"WithoutFreeSpace" + bytes(500),
    "vdi": b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64) + b"\x7f\x10\xda\xbe",
}
PACKED = {
    "gzip": gzip.compress(bytes(16 << 20)),
    "xz": lzma.compress(bytes(16 << 20)),
    "bzip2": bz2.compress(bytes(16 << 20)),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(600),
    "zip": b"PK\3\4" + bytes(600),
}
FILES = [
    File("I131-backing", qcow2(backing=512, backing_length=11), "backing file"),
    File("I131-only-at", qcow2(backing=512), "backing file"),
    File("I131-only-length", qcow2(backing_length=9), "backing file"),
    File("I131-version-2", qcow2(version=2, backing=512, backing_length=11), "backing file"),
    File("I131-format", qcow2(extensions=extension(0xE2792ACA, b"raw")), "backing"),
    File("I131-data-file", qcow2(incompatible=1 << 2), "another file"),
    File("I131-data-name", qcow2(extensions=extension(0x44415441, b"/etc/shadow")), "another file"),
    File("I133-aes", qcow2(crypt=1), "is encrypted"),
    File("I133-luks", qcow2(crypt=2), "is encrypted"),
    File("I133-luks-header", qcow2(extensions=extension(0x0537BE77, bytes(16))), "is encrypted"),
    File("I133-unknown", qcow2(incompatible=1 << 5), "not known"),
    File("I133-unknown-last", qcow2(incompatible=1 << 63), "not known"),
    File("I133-dirty", qcow2(incompatible=1), "closed cleanly"),
    File("I133-corrupt", qcow2(incompatible=2), "corrupt"),
    File("I133-version", qcow2(version=4), "version 4"),
    File("I134-snapshots", qcow2(snapshots=1), "internal snapshots"),
    File("I136-qcow2", qcow2(), "is a qcow2, not raw", "raw"),
    File("I136-with-backing", qcow2(backing=512, backing_length=11), "is a qcow2", "raw"),
    *(File(f"I136-{name}", data, ", not raw", "raw") for name, data in NOT_RAW.items()),
    *(File(f"I136-{name}-as-qcow2", data, "not a qcow2") for name, data in NOT_RAW.items()),
    File("I136-raw-as-qcow2", b"\xeb\x63\x90".ljust(4096, b"\0"), "not a qcow2"),
    File("I136-raw-as-tar", b"\xeb\x63\x90".ljust(4096, b"\1"), "tar", "docker-archive"),
    File("I139-60-tb", qcow2(disk=60 * TB, l1_size=120_000, size=1_200_000), "more than 2 TiB"),
    File("I139-8-eb", qcow2(disk=1 << 63), "more than 2 TiB"),
    File("I139-nothing", qcow2(disk=0), "size 0"),
    File("I142-l1", qcow2(l1_size=1 << 31), "L1 table"),
    File("I142-l1-outside", qcow2(l1_at=1 << 62), "L1 table"),
    File("I142-refcount", qcow2(refcount_order=40), "reference counts"),
    File("I142-refcounts", qcow2(refcount_clusters=1 << 31), "refcount table"),
    File("I142-cluster-bits", qcow2(cluster_bits=63), "clusters of 2^63"),
    File("I142-header", qcow2(length=1 << 31), "header of"),
    File("I142-extension", qcow2(extensions=struct.pack(">II", 1, 0xFFFFFFFF)), "does not end"),
    File("I142-cut", qcow2(size=80), "cut short"),
    File("I142-pax", _extended(tarfile.XHDTYPE, 8 << 30), "too large", "docker-archive"),
    File("I142-long-name", _extended(tarfile.GNUTYPE_LONGNAME, 8 << 30), "too large", "docker-archive"),
    File("I142-no-manifest", _tar(tarfile.TarInfo("layer.tar")), "no manifest.json", "docker-archive"),
    File("I142-members", _tar(*[tarfile.TarInfo("x")] * 20_002), "more than 20000", "docker-archive"),
    *(
        File(f"I143-{name}-{format_}", data, f"is packed with {name}", format_)
        for name, data in PACKED.items()
        for format_ in TYPES
    ),
]  # fmt: skip

URLS = {
    "I149-file": "file:///etc/shadow",
    "I149-ftp": "ftp://x.test/y",
    "I149-gopher": "gopher://x.test/y",
    "I149-data": "data:text/plain,hello",
    "I149-http": "http://x.test/y",
    "I149-no-scheme": "//x.test/y",
    "I149-upper": "FILE:///etc/shadow",
    "I149-jar": "jar:https://x.test!/y",
    "I149-no-host": "https:///etc/shadow",
    "I149-port": "https://x.test:0/y",
    "I149-ipv6": "https://[::1]/y",
    "I149-newline": "https://x.test/y\r\nHost: evil.test",
    "I149-space": "https://x.test/a b",
    "I149-long": "https://x.test/" + "y" * 3000,
    "I149-option": "-o/etc/passwd",
    "I154-user": "https://hunter2@evil.test/y",
    "I154-password": "https://good:hunter2@evil.test/y",
    "I154-at": "https://good.test:443@evil.test/hunter2",
    "I154-backslash": "https://good.test\\@evil.test/hunter2",
    "I154-fragment": "https://x.test/y#hunter2",
}
HOSTS = ["localhost", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.2", "169.254.169.254",
         "10.0.0.1", "0.0.0.0"]  # fmt: skip
"""Ways to say where nobody may be sent (the program trusts exactly 127.0.0.1)."""
LOCATIONS = ["http://127.0.0.1/x", "file:///etc/shadow", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x",
             "data:text/plain,x", "https://user:hunter2@127.0.0.1/x", "https://[::1]/x"]  # fmt: skip
