"""The files that Image manifests name: relative to the manifest, and below the watched directory.

Their bytes are taken by the desk. Here: where they are, and whether they have changed since or are
still being written; without a sha256 in the manifest nobody else would notice.
"""

import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence

from manifests.codec import Json
from manifests.load import Document

Identity = tuple[int, int, int]
SETTLED = 2.0
"""Seconds since the last write after which a file counts as written."""


def with_paths(documents: Sequence[Document], root: str) -> list[Json]:
    """The documents, with absolute paths of files."""
    return [
        document.data | {"spec": document.data["spec"] | {"file": path}}
        if (path := _path(document, root))
        else document.data
        for document in documents
    ]


def unpinned(documents: Sequence[Document], root: str) -> list[str]:
    """Paths of the files whose bytes no manifest pins."""
    return [
        path
        for document in documents
        if (path := _path(document, root)) and "sha256" not in document.data["spec"]
    ]


def _path(document: Document, root: str) -> str:
    """ "" without a file; whatever is not as it should be is left for the desk to complain of."""
    spec = document.data.get("spec")
    file = spec.get("file") if isinstance(spec, dict) else None
    if document.data.get("kind") != "Image" or not isinstance(file, str) or not file:
        return ""
    return os.path.normpath(os.path.join(root, os.path.dirname(document.file), file))


def identities(paths: Iterable[str]) -> dict[str, Identity | None]:
    """What changes with the files; None for one that is not there, or no file."""
    return {path: _identity(path) for path in paths}


def _identity(path: str) -> Identity | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def being_written(found: Mapping[str, Identity | None]) -> bool:
    now = time.time_ns()
    return any(item and 0 <= now - item[2] < SETTLED * 1e9 for item in found.values())
