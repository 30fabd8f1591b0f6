"""Manifests on their way to the reconciler: read, checked, image bytes sent along, applied.

All that is wrong is said at once, with file:line:column. Nothing is sent while anything is wrong.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from iaasctl import images
from iaasctl.answers import Outcome
from iaasctl.client import Client
from iaasctl.errors import Invalid, Rejected, on_interrupt
from iaasctl.images import ImageFile
from iaasctl.uploads import Progress, quiet
from manifests.load import Document, Loaded, load_paths
from manifests.problem import Problem
from manifests.scalars import NAME_HINT, NAME_PATTERN

SHOWN_PROBLEMS = 100


class Submission(NamedTuple):
    """A set of documents ready to go, `data` with the digests of `files` filled in."""

    source: str
    documents: Sequence[Document]
    data: Sequence[Any]
    files: Sequence[ImageFile]

    @property
    def keys(self) -> list[tuple[str, str]]:
        """(kind, name) of every document; only of a set that the server accepted."""
        return [(item["kind"], item["metadata"]["name"]) for item in self.data]


def prepare(paths: Sequence[str], name: str | None, progress: Progress = quiet) -> Submission:
    """Read and check everything that can be checked here. Raises Invalid with all problems."""
    source = f"set:{set_name(paths, name)}"
    loaded = load_paths(paths)
    files, missing = images.find(loaded.documents)
    if loaded.problems or missing:
        raise invalid([*missing, *all_problems(loaded)])
    files = [images.hashed(file, progress) for file in files]
    if wrong := [problem for file in files if (problem := images.mismatch(file))]:
        raise invalid([*wrong, *all_problems(loaded)])
    digests = {id(file.document): file.sha256 for file in files}
    data = [
        images.completed(item.data, digests[id(item)]) if id(item) in digests else item.data
        for item in loaded.documents
    ]
    return Submission(source=source, documents=loaded.documents, data=data, files=files)


def submit(
    client: Client,
    submission: Submission,
    *,
    prune: bool = True,
    approve: bool = False,
    dry_run: bool = False,
    progress: Progress = quiet,
) -> Outcome:
    """Apply, or with `dry_run` only ask what that would do. Raises Invalid with all problems.

    A dry run uploads image bytes too: the reconciler checks them, and until an Image names them
    they change nothing.
    """
    with on_interrupt("nothing was applied; image bytes that were uploaded need not be again"):
        send_images(client, submission, progress)
    try:
        with on_interrupt(
            "nobody knows whether it was applied", "run the same command again, that is safe"
        ):
            return client.apply(
                submission.source, submission.data, prune=prune, approve=approve, dry_run=dry_run
            )
    except Rejected as error:
        if not error.faults:
            raise
        raise invalid(_located(submission.documents, error)) from None


def send_images(client: Client, submission: Submission, progress: Progress) -> None:
    """Upload what the server lacks; nothing where the set is not valid."""
    files = {file.sha256: file for file in submission.files}
    offsets = {sha256: client.blob_offset(sha256) for sha256 in files}
    missing = {sha256: at for sha256, at in offsets.items() if at is not None}
    if missing and (problems := _schema_problems(submission.documents)):
        raise invalid(problems)
    for sha256, at in missing.items():
        images.upload(client, files[sha256], at, progress)


def all_problems(loaded: Loaded) -> list[Problem]:
    """The problems of loading, and what else is wrong with the documents that could be read."""
    return [*loaded.problems, *_schema_problems(loaded.documents)]


def _schema_problems(documents: Sequence[Document]) -> list[Problem]:
    if not documents:
        return []
    from manifests.validate import validate_documents  # imports jsonschema: only when it is needed

    return list(validate_documents(documents))


def _located(documents: Sequence[Document], error: Rejected) -> list[Problem]:
    """The server's faults at their places in the files."""
    problems = []
    for index, fault in error.faults:
        if not 0 <= index < len(documents):
            problems.append(Problem("", 1, 1, "", fault.message, fault.hint))
            continue
        hint = fault.hint
        if fault.first is not None and 0 <= fault.first < len(documents):
            first = documents[fault.first].problem(fault.path, "")
            hint = f"the first is at {first.file}:{first.line}"
        problems.append(documents[index].problem(fault.path, fault.message, hint, key=fault.key))
    return problems


def invalid(problems: Iterable[Problem]) -> Invalid:
    """The error for these problems: each on its line, sorted by place, said once."""
    found = sorted(set(problems))
    lines = [str(problem).removeprefix(":1:1: ") for problem in found[:SHOWN_PROBLEMS]]
    if rest := len(found) - len(lines):
        lines.append(f"... and {rest} more")
    count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
    return Invalid(
        f"{count} in the manifests; nothing was changed",
        fix="iaasctl schema KIND shows what a manifest may say",
        report="\n".join(lines),
    )


def set_name(paths: Sequence[str], name: str | None) -> str:
    """The name of the set: as given, or made of the first path's."""
    if name is not None:
        if not re.fullmatch(NAME_PATTERN[1:-1], name):
            raise Invalid(f"{name!r} is not a name for a set", fix=NAME_HINT)
        return name
    if paths[0] == "-":
        raise Invalid(
            "standard input has no name to call its set by", fix="give it one: --set NAME"
        )
    stem = Path(os.path.abspath(paths[0])).stem
    slug = re.sub("[^a-z0-9]+", "-", stem.lower()).strip("-").lstrip("0123456789-")[:63].rstrip("-")
    if not slug:
        raise Invalid(
            f"no name for the set can be made of {paths[0]!r}", fix="give it one: --set NAME"
        )
    return slug
