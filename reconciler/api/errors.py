"""What went wrong inside -> what the client is told: one table. Anything else is a defect of ours,
of which the client learns an id and the log everything."""

import logging
import secrets

from manifests.codec import dump
from reconciler.api.http import Answer, ApiError
from reconciler.images import BadBytes, Broken, InUse, LibraryFull
from reconciler.lab import KeyReused, KeySpent
from reconciler.store import StoreError, StoreFull
from reconciler.submit import Braked, Busy, Conflicts, Forbidden, Gone, Invalid, Outdated

log = logging.getLogger("reconciler.api")
MOST_FAULTS = 1000
"""Shown of one submission; the message counts them all."""

ERRORS: tuple[tuple[type[Exception], int, str, str], ...] = (
    (Invalid, 422, "invalid", "correct the documents and apply again"),
    (Conflicts, 409, "conflict", ""),
    (Gone, 404, "not_found", ""),
    (KeyReused, 422, "key_reused", "send another Idempotency-Key"),
    (KeySpent, 410, "gone", "send another Idempotency-Key to make a new one"),
    (Outdated, 412, "changed_meanwhile", "GET it again, and decide again"),
    (Forbidden, 403, "forbidden", "ask an admin"),
    (Braked, 409, "brake", ""),
    (Busy, 503, "busy", "try again"),
    (InUse, 429, "too_many_requests", "try again"),
    (BadBytes, 422, "bad_bytes", "upload the file again"),
    (LibraryFull, 507, "no_room", "free some room on the controller's disk"),
    (Broken, 503, "storage", "look at the disk of the image directory, and at who may write there"),
    (StoreFull, 507, "no_room", "free some room on the controller's disk"),
)


def answer_to(error: Exception) -> Answer:
    """The answer for whatever a handler raised."""
    if isinstance(error, ApiError):
        return error.answer
    for type_, status, code, hint in ERRORS:
        if isinstance(error, type_):
            return _known(error, status, code, hint).answer
    number = secrets.token_hex(6)
    log.error("error %s", number, exc_info=error)
    if isinstance(error, StoreError):
        message = f"it could not be stored, or it is not known whether it was; error {number}"
        return ApiError(503, "storage", message, headers={"Retry-After": "2"}).answer
    return ApiError(500, "internal", f"a defect of the server; error {number} in its log").answer


def _known(error: Exception, status: int, code: str, hint: str) -> ApiError:
    conflicts = error.conflicts if isinstance(error, Conflicts | Forbidden) else ()
    faults = error.faults if isinstance(error, Invalid) else ()
    alone = conflicts[0] if len(conflicts) == 1 and isinstance(error, Conflicts) else None
    return ApiError(
        status,
        code,
        f"{alone.message}; nothing was changed" if alone else str(error),
        hint=(conflicts[0].hint if conflicts else "") or hint,
        conflicts=[dump(conflict) for conflict in conflicts[:MOST_FAULTS]],
        faults=[fault.to_json(index) for index, fault in faults[:MOST_FAULTS]],
        headers={"Retry-After": "2"} if status in (429, 503) else None,
    )
