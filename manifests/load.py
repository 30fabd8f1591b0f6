"""Texts and files -> documents that know where in a file each of their fields stands.

Here: what `iaasctl` and the watcher read manifests with, all problems at once. Not here: whether a
document is a valid manifest (`validate`, which needs jsonschema; this must stay quick to import).
"""

import gc
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from manifests import files
from manifests.files import FileError
from manifests.guard import LIMITS, Limits, Parsed, read
from manifests.positions import Positions, positions_of
from manifests.problem import Path, Problem, dotted


@dataclass(frozen=True, slots=True)
class Document:
    """One document as plain data. `index` counts through the whole set.

    A document with `flawed` paths has problems already, and stands for them only so that all that
    is wrong with the rest of it can be said too.
    """

    file: str
    index: int
    parsed: Parsed = field(repr=False)
    _positions: list[Positions] = field(default_factory=list, repr=False, compare=False)

    @property
    def data(self) -> dict[str, Any]:
        """The document as plain data."""
        return cast(dict[str, Any], self.parsed.data)

    @property
    def flawed(self) -> frozenset[Path]:
        return self.parsed.flawed

    @property
    def positions(self) -> Positions:
        """Lines and columns of all fields; read when first asked for."""
        if not self._positions:
            text = self.parsed.text[self.parsed.start : self.parsed.end]
            self._positions.append(positions_of(text, self.parsed.line))
        return self._positions[0]

    def problem(
        self, path: Path | str, message: str, hint: str = "", *, key: bool = False
    ) -> Problem:
        """A complaint about the field at `path`; with `key`, about its name."""
        steps = steps_of(path, self.data) if isinstance(path, str) else path
        # CodecError has no flag for it, and its message for a wrong name is always this one.
        line, column = self.positions.find(steps, key=key or message == "unknown field")
        return Problem(self.file, line, column, dotted(steps), message, hint)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A set of documents. Only without problems may it be used."""

    documents: tuple[Document, ...]
    problems: tuple[Problem, ...]


def load_text(
    source: str | bytes, file: str, *, first: int = 0, limits: Limits = LIMITS
) -> tuple[list[Document], list[Problem]]:
    """The documents of one text, numbered from `first`, and all that is wrong with it."""
    with _collector_paused():
        parsed, problems = read(source, file, limits)
        mappings = (item for item in parsed if isinstance(item.data, dict))
        documents = [Document(file, index, item) for index, item in enumerate(mappings, first)]
    if not documents and not problems:
        problems.append(Problem(file, 1, 1, "", "no documents in this file"))
    return documents, sorted(problems)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No cyclic collection meanwhile: we make much data and no cycles, and it costs a third."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def load_paths(
    paths: Iterable[str], *, stdin: BinaryIO | None = None, limits: Limits = LIMITS
) -> Loaded:
    """The documents of files, of directories with all below them, and of `-`, standard input."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for path in dict.fromkeys(paths):
        for source in _sources(path, stdin, limits):
            if isinstance(source, FileError):
                problems.append(Problem(source.file, 1, 1, "", source.message, source.hint))
                continue
            file, content = source
            some, wrong = load_text(content, file, first=len(documents), limits=limits)
            documents += some
            problems += wrong
            if len(documents) > limits.documents:
                message = f"more than {limits.documents} documents"
                return Loaded((), (*problems, Problem(file, 1, 1, "", message)))
    if not documents and not problems:
        problems.append(Problem("", 1, 1, "", "no documents", "name a file, a directory or -"))
    return Loaded(tuple(documents), tuple(problems))


def _sources(
    path: str, stdin: BinaryIO | None, limits: Limits
) -> Iterator[tuple[str, bytes] | FileError]:
    for item in files.expand(path):
        if isinstance(item, FileError):
            yield item
            continue
        try:
            yield files.display(item), _content(item, stdin, limits.size)
        except FileError as error:
            yield error


def _content(path: str, stdin: BinaryIO | None, limit: int) -> bytes:
    if path != files.STDIN:
        return files.read_file(path, limit)
    return files.read_stdin(stdin or getattr(sys.stdin, "buffer", None), limit)


def steps_of(path: str, data: Any) -> Path:
    """The steps of `spec.ports[0]`. The data tells where a key with dots in it ends."""
    steps: list[str | int] = []
    while path:
        step, path = _step(path.removeprefix("."), data)
        steps.append(step)
        try:
            data = data[step]
        except (LookupError, TypeError):
            data = None
    return tuple(steps)


def _step(path: str, data: Any) -> tuple[str | int, str]:
    if path.startswith("[") and path[1:].partition("]")[0].isdecimal():
        index, _, rest = path[1:].partition("]")
        return int(index), rest
    known = [name for name in data if _begins(path, name)] if isinstance(data, dict) else []
    if known:
        name = max(known, key=len)
        return name, path[len(name) :]
    name, dot, rest = path.partition(".")
    head, bracket, tail = name.partition("[")
    return (head, bracket + tail + dot + rest) if head else (path, "")


def _begins(path: str, name: str) -> bool:
    return path.startswith(name) and path[len(name) : len(name) + 1] in ("", ".", "[")
