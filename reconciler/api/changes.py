"""The lab's changes of one object: POST makes one, PUT starts and stops a machine, DELETE removes one.

Each goes through the desk like a manifest of source `api`. Not here: sets of manifests (`submissions`).
"""

import re
import time
from collections.abc import Sequence
from contextlib import nullcontext

from manifests.codec import Json
from manifests.digest import digest
from manifests.kinds.machine import PowerState
from manifests.problem import Fault, dotted, shown
from manifests.scalars import Uid
from reconciler import lab
from reconciler.api.body import read_fields, read_object
from reconciler.api.deps import Deps
from reconciler.api.http import Answer, ApiError, Request, bad_request
from reconciler.api.objects import answer, find, is_id, kind_of, missing
from reconciler.api.watching import patience, tagged, wanted_versions
from reconciler.core.lab import document_from, in_lab_words
from reconciler.core.model import Object
from reconciler.core.single import is_left
from reconciler.lab import Key
from reconciler.submit import Invalid

KEY = re.compile("[!-~]{1,255}")
BRIEFLY = 0.3
"""Seconds that a DELETE waits for what should go at once, since nothing of it runs anywhere."""


def create_object(deps: Deps, request: Request) -> Answer:
    """201 with the object and where it is found."""
    request.only()
    kind = kind_of(request)
    with deps.submissions.take():
        data = read_fields(request)
        document, faults = document_from(kind, data)
        if faults:
            raise _invalid(faults)
        try:
            made = lab.create(deps.desk, document, by=request.by(201), key=_key(request, data))
        except Invalid as error:
            said = in_lab_words(kind, [fault for _, fault in error.faults])
            raise _invalid(said) from None
    name = made.item.uid if kind == "Machine" else made.item.name
    found = tagged(deps, lambda snapshot: answer(request, snapshot, made.item, 201))
    found = found.with_header("Location", f"{request.path}/{name}")
    return found.with_header("Idempotency-Replayed", "true") if made.again else found


def put_machine(deps: Deps, request: Request) -> Answer:
    """Start or stop it; nothing is written where it is to be so already."""
    request.only()
    seen = wanted_versions(request)
    with deps.submissions.take():
        state = _state(read_object(request, {"state": (str, ...)})["state"])
        item = _found(deps, request)
        lab.power(deps.desk, item, state, seen=seen, by=request.by())
    return tagged(deps, lambda snapshot: answer(request, snapshot, item))


def delete_object(deps: Deps, request: Request) -> Answer:
    """202 with the object while it goes, 204 when it is gone, also when it has been for long."""
    request.only()
    seen = wanted_versions(request)
    item = find(deps.cluster.snapshot(), request)
    if item is None:
        if _was_here(deps, request):
            return Answer(status=204)
        raise missing(request)
    wait = patience(request)
    # A place to wait is taken first: whoever is told to come back has deleted nothing yet.
    with deps.waiters.take() if wait else nullcontext():
        with deps.submissions.take():
            lab.remove(deps.desk, item, seen=seen, by=request.by(202))
        return _gone(deps, request, item, wait or BRIEFLY, only_at_once=not wait)


def _key(request: Request, data: dict[str, Json]) -> Key | None:
    """The same only for the same wish of the same client."""
    text = request.headers.get("idempotency-key")
    if text is None:
        return None
    if not KEY.fullmatch(text):
        raise bad_request(
            "an Idempotency-Key has 1 to 255 visible ASCII characters", field="Idempotency-Key"
        )
    return Key(text, digest([request.caller.who, request.path, data]))


def _state(text: str) -> PowerState:
    known = [str(state) for state in PowerState]
    if text not in known:
        hint = f"states: {', '.join(known)}"
        message = f"{shown(text)} is not a state to be in"
        raise ApiError(422, "invalid", message, field="state", hint=hint)
    return PowerState(text)


def _found(deps: Deps, request: Request) -> Object:
    item = find(deps.cluster.snapshot(), request)
    if item is None:
        raise missing(request)
    return item


def _was_here(deps: Deps, request: Request) -> bool:
    wanted = request.arguments["name"]
    return is_id(wanted) and deps.cluster.store.was_deleted(kind_of(request), Uid(wanted))


def _gone(
    deps: Deps, request: Request, item: Object, seconds: float, *, only_at_once: bool
) -> Answer:
    """204 as soon as nothing of it is left, 202 after `seconds`. `only_at_once`: no waiting for what
    a node has to confirm first."""
    signal, end = deps.cluster.signal, time.monotonic() + seconds
    while True:
        version, snapshot = signal.version, deps.cluster.snapshot()
        current = snapshot.objects.get(item.key)
        if current is None or current.uid != item.uid:
            return Answer(status=204)
        left = end - time.monotonic()
        if left <= 0 or deps.closing or (only_at_once and is_left(snapshot, item)):
            return tagged(deps, lambda snapshot: answer(request, snapshot, item, 202))
        signal.wait(version, left)


def _invalid(faults: Sequence[Fault]) -> ApiError:
    first, field = faults[0], dotted(faults[0].path)
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return ApiError(
        422,
        "invalid",
        f"{field}: {first.message}{more}; nothing was changed",
        field=field[:100],
        hint=first.hint,
        faults=[fault.to_json(0) for fault in faults],
    )
