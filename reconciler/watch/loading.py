"""The bytes that were found -> documents that know where in a file each of their fields stands."""

from collections.abc import Sequence

from manifests.guard import LIMITS
from manifests.load import Document, load_text
from manifests.problem import Fault, Problem
from manifests.validate import problem_of, validate_documents
from reconciler.core.conflicts import Conflict
from reconciler.watch.found import Found


def load(found: Found) -> tuple[list[Document], list[Problem]]:
    """All documents, and all that is wrong with the set. Without problems it may still be refused
    at the desk."""
    documents: list[Document] = []
    problems = list(found.problems)
    for name, data in found.files:
        some, wrong = load_text(data, name, first=len(documents))
        documents += some
        problems += wrong
        if len(documents) > LIMITS.documents:
            message = f"more than {LIMITS.documents} documents"
            return [], [*problems, Problem(name, 1, 1, "", message)]
    if problems:
        problems += validate_documents(documents)
    return documents, sorted(set(problems))


def located(documents: Sequence[Document], faults: Sequence[tuple[int, Fault]]) -> list[Problem]:
    """The desk's faults, at their places in the files."""
    return sorted(
        {
            problem_of(
                documents[index],
                fault,
                documents[fault.first] if fault.first is not None else None,
            )
            for index, fault in faults
        }
    )


def collisions(documents: Sequence[Document], conflicts: Sequence[Conflict]) -> list[Problem]:
    """Conflicts, at the documents that they are about; those about other objects come first."""
    places = {
        (document.data["kind"], document.data["metadata"]["name"]): document
        for document in documents
    }
    found = []
    for conflict in conflicts:
        document = places.get((conflict.kind, conflict.name))
        if document:
            found.append(document.problem(("metadata", "name"), conflict.message))
        else:
            found.append(Problem("", 1, 1, "", conflict.message))
    return sorted(set(found))
