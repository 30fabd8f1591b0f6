"""What the layers of an archive would become on the disk, found out before the engine unpacks them.

The engine unpacks whatever a layer says: a few kilobytes of zstd, or one sparse entry, can fill the
disk of the node. Here: counting, in bounded memory and without any file. Not here: the archive around
the layers (`docker_archive`).
"""

import tarfile
import zlib
from collections.abc import Iterator
from typing import IO

from manifests.imageformat import FormatError

CHUNK = 256 << 10
ALLOWED, TIMES = 1 << 30, 50
"""All layers together may become this many bytes, and so many times the archive's own size."""
LARGEST_RECORDS = 1 << 20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
REFUSED = {b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}
ZSTD_BLOCK = 128 << 10
"""What one of its blocks becomes at most."""


class Budget:
    """`times`: how often the engine will unpack what is counted now."""

    def __init__(self, archive: int) -> None:
        self.most = ALLOWED + TIMES * archive
        self.count = 0
        self.times = 1

    def take(self, count: int) -> None:
        self.count += self.times * count
        if self.count > self.most:
            raise FormatError(f"unpacks to more than {self.most >> 20} MiB")


def check_layer(file: IO[bytes], offset: int, size: int, budget: Budget) -> None:
    """Refuse (FormatError) what may be a layer, the `size` bytes from `offset` on, if it becomes too
    much. Anything that is no tar, packed or not, is none."""
    pieces = _pieces(file, offset, size)
    first = next(pieces, b"")
    for magic, name in REFUSED.items():
        if first.startswith(magic):
            raise FormatError(f"has a layer packed with {name}")
    if first.startswith(ZSTD):
        for count in _zstd(Reader(first, pieces)):
            budget.take(count)
        return
    entries = Entries()
    for data in _inflated(first, pieces) if first.startswith(GZIP) else _all(first, pieces):
        budget.take(len(data))
        entries.feed(data)


def _pieces(file: IO[bytes], offset: int, size: int) -> Iterator[bytes]:
    file.seek(offset)
    while size and (data := file.read(min(CHUNK, size))):
        size -= len(data)
        yield data


def _all(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from pieces


def _inflated(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Several gzip files, one after the other, are one."""
    inflating = zlib.decompressobj(31)
    try:
        for piece in _all(first, pieces):
            data = piece
            while data:
                yield inflating.decompress(data, CHUNK)
                data = inflating.unconsumed_tail
                if inflating.eof:
                    data = inflating.unused_data
                    inflating = zlib.decompressobj(31)
    except zlib.error as error:
        raise FormatError(f"has a broken layer ({error})") from None


class Reader:
    """Exactly so many of the next bytes, or FormatError."""

    def __init__(self, first: bytes, pieces: Iterator[bytes]) -> None:
        self._data = first
        self._pieces = pieces

    def more(self) -> bool:
        if not self._data:
            self._data = next(self._pieces, b"")
        return bool(self._data)

    def read(self, count: int) -> bytes:
        while len(self._data) < count:
            if not (piece := next(self._pieces, b"")):
                raise FormatError("has a layer that is cut short")
            self._data += piece
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def skip(self, count: int) -> None:
        while count > CHUNK:
            self.read(CHUNK)
            count -= CHUNK
        self.read(count)

    def number(self, count: int) -> int:
        return int.from_bytes(self.read(count), "little")


def _zstd(reader: Reader) -> Iterator[int]:
    """The most that each part becomes: as its frame says, to which decoders hold it, or by its blocks."""
    while reader.more():
        magic = reader.number(4)
        if magic & ~0xF == 0x184D2A50:
            reader.skip(reader.number(4))
            continue
        if magic != int.from_bytes(ZSTD, "little"):
            raise FormatError("has a broken layer (zstd)")
        yield from _frame(reader)


def _frame(reader: Reader) -> Iterator[int]:
    flags = reader.number(1)
    single = flags >> 5 & 1
    reader.skip((0 if single else 1) + (0, 1, 2, 4)[flags & 3])
    width = (single, 2, 4, 8)[flags >> 6]
    told = reader.number(width) + (256 if width == 2 else 0) if width else None
    if told is not None:
        yield told
    last = 0
    while not last:
        block = reader.number(3)
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        if kind == 3:
            raise FormatError("has a broken layer (zstd)")
        reader.skip(1 if kind == 1 else size)
        if told is None:
            yield ZSTD_BLOCK if kind == 2 else size
    reader.skip(4 if flags & 4 else 0)


class Entries:
    """The entries of a tar as it goes by. Sparse ones are refused: they become what they say."""

    def __init__(self) -> None:
        self._data = b""
        self._skip = 0
        self._records: int | None = None
        self._size: int | None = None
        self._over = False

    def feed(self, data: bytes) -> None:
        if self._over:
            return
        if self._skip >= len(data):
            self._skip -= len(data)
            return
        self._data += data[self._skip :]
        self._skip = 0
        while not self._over and self._step():
            pass

    def _step(self) -> bool:
        """One header, or the records of one; False until there is more."""
        needed = tarfile.BLOCKSIZE if self._records is None else _padded(self._records)
        if len(self._data) < needed:
            return False
        block, self._data = self._data[:needed], self._data[needed:]
        if self._records is not None:
            self._read_records(block[: self._records])
            self._records = None
        else:
            self._read_header(block)
        skipped = min(self._skip, len(self._data))
        self._data, self._skip = self._data[skipped:], self._skip - skipped
        return not self._skip

    def _read_header(self, block: bytes) -> None:
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError, OverflowError):
            self._over = True  # no tar, or its end: the engine sees no more of it either
            return
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise FormatError("has a layer with a sparse file")
        if info.type == tarfile.XHDTYPE:
            if not 0 <= info.size <= LARGEST_RECORDS:
                raise FormatError("has a header that is too large")
            self._records = info.size
            return
        if info.type in LONG_NAMES:
            self._skip = _padded(info.size)
            return
        size = info.size if self._size is None else self._size
        self._size = None
        if info.isreg() or info.type not in tarfile.SUPPORTED_TYPES:
            self._skip = _padded(size)
        self._over = size < 0

    def _read_records(self, text: bytes) -> None:
        if b"GNU.sparse" in text:
            raise FormatError("has a layer with a sparse file")
        while text and not self._over:
            length = text.partition(b" ")[0]
            if not length.isdigit() or not len(length) < int(length[:9]) <= len(text):
                self._over = True
                return
            record, text = text[: int(length)], text[int(length) :]
            name, _, value = record[len(length) + 1 : -1].partition(b"=")
            if name == b"size":
                self._over = not (value.isdigit() and len(value) < 20)
                self._size = None if self._over else int(value)


LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
