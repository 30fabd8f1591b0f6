"""The files behind Image documents: found beside the manifest, hashed, uploaded where missing.

Here: bytes. Not here: what the documents say otherwise; they may be wrong in any way, and then the
server says so.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

from iaasctl.client import Client
from iaasctl.errors import Failure
from manifests.load import Document
from manifests.problem import Problem

CHUNK = 1 << 20
Progress = Callable[[str, int, int], None]
"""Called with what is being done, the bytes done and the bytes to do."""


class ImageFile(NamedTuple):
    """The bytes of one Image document."""

    document: Document
    path: Path
    size: int
    sha256: str = ""


def quiet(_what: str, _done: int, _total: int) -> None:
    """No progress."""


def find(documents: Iterable[Document]) -> tuple[list[ImageFile], list[Problem]]:
    """The image files that the documents name, not yet hashed, and what is wrong with them."""
    files, problems = [], []
    for document in documents:
        spec = document.data.get("spec")
        name = spec.get("file") if isinstance(spec, dict) else None
        if document.data.get("kind") != "Image" or not isinstance(name, str) or not name:
            continue
        path = Path(document.file).parent / name
        try:
            files.append(ImageFile(document, path, _size(path)))
        except (OSError, ValueError) as error:
            problems.append(_missing(document, path, error))
    return files, problems


def _size(path: Path) -> int:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise IsADirectoryError(0, "not a regular file")
    return status.st_size


def _missing(document: Document, path: Path, error: OSError | ValueError) -> Problem:
    reason = getattr(error, "strerror", None) or str(error)
    return document.problem(
        ("spec", "file"),
        f"cannot read {path}: {reason[:1].lower()}{reason[1:]}",
        "the path is relative to the manifest; build or download the image first",
    )


def hashed(file: ImageFile, progress: Progress = quiet) -> ImageFile:
    """The file with its digest, read in pieces."""
    digest = hashlib.sha256()
    done = 0
    try:
        with file.path.open("rb", buffering=0) as source:
            while piece := source.read(CHUNK):
                digest.update(piece)
                done += len(piece)
                progress(f"reading {file.path}", done, file.size)
    except OSError as error:
        raise Failure(f"cannot read {file.path}", why=error.strerror or str(error)) from None
    return ImageFile(file.document, file.path, done, digest.hexdigest())


def mismatch(file: ImageFile) -> Problem | None:
    """The problem of a document that promises other bytes than its file has."""
    given = file.document.data["spec"].get("sha256")
    if given is None or given == file.sha256:
        return None
    return file.document.problem(
        ("spec", "sha256"),
        f"{file.path} has another digest: {file.sha256}",
        "correct it, or leave sha256 out: iaasctl fills it in",
    )


def completed(data: dict[str, Any], sha256: str) -> dict[str, Any]:
    """The document with the digest in it; `file` stays."""
    return {**data, "spec": {**data["spec"], "sha256": sha256}}


def upload(client: Client, file: ImageFile, progress: Progress = quiet) -> None:
    """Send the bytes. The server checks the digest, so a file that changed meanwhile is refused."""
    try:
        with file.path.open("rb", buffering=0) as source:
            if os.fstat(source.fileno()).st_size != file.size:
                raise Failure(f"{file.path} changed while it was read", fix="try again")
            body = _Counted(source, file, progress)
            client.put_blob(file.sha256, body, file.size)
    except OSError as error:
        raise Failure(f"cannot read {file.path}", why=error.strerror or str(error)) from None


class _Counted(BufferedReader):
    """A file that tells how much of it was read."""

    def __init__(self, raw: Any, file: ImageFile, progress: Progress) -> None:
        super().__init__(raw, CHUNK)
        self._file = file
        self._progress = progress
        self._done = 0

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self._done += len(piece)
        self._progress(f"uploading {self._file.path}", self._done, self._file.size)
        return piece
