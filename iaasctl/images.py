"""The files behind Image documents: found beside the manifest, hashed, uploaded where missing.

Here: bytes. Not here: what the documents say otherwise; they may be wrong in any way, and then the
server says so.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from iaasctl import uploads
from iaasctl.client import Client
from iaasctl.uploads import Bytes, Progress, quiet
from manifests.load import Document
from manifests.problem import Problem


class ImageFile(NamedTuple):
    """The bytes of one Image document."""

    document: Document
    path: Path
    size: int
    sha256: str = ""


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
            files.append(ImageFile(document, path, uploads.size_of(path)))
        except (OSError, ValueError) as error:
            problems.append(_missing(document, path, error))
    return files, problems


def _missing(document: Document, path: Path, error: OSError | ValueError) -> Problem:
    reason = getattr(error, "strerror", None) or str(error)
    return document.problem(
        ("spec", "file"),
        f"cannot read {path}: {reason[:1].lower()}{reason[1:]}",
        "the path is relative to the manifest; build or download the image first",
    )


def hashed(file: ImageFile, progress: Progress = quiet) -> ImageFile:
    """The file with its digest, read in pieces."""
    found = uploads.hashed(file.path, progress)
    return ImageFile(file.document, file.path, found.size, found.sha256)


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


def upload(client: Client, file: ImageFile, at: int, progress: Progress = quiet) -> None:
    """Send the bytes from `at` on. The server checks the digest, so a file that changed meanwhile is
    refused."""
    client.put_blob(file.path, Bytes(file.sha256, file.size), at, progress)
