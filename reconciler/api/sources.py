"""Watched directories: what is in force of them, what is wrong in them, and approving what waits."""

from typing import Any

from manifests.codec import Json, dump
from manifests.problem import shown
from reconciler.api.body import read_object
from reconciler.api.deps import Deps
from reconciler.api.http import Answer, ApiError, Request, bad_request, not_found
from reconciler.core.sources import Applied, Source, State
from reconciler.core.view import masked_line
from reconciler.sources import NotWaiting


def list_sources(deps: Deps, request: Request) -> Answer:
    request.only()
    return Answer(body=[_view(deps, request, *item) for item in deps.sources.all()])


def get_source(deps: Deps, request: Request) -> Answer:
    request.only()
    return Answer(body=_one(deps, request, request.arguments["name"]))


def approve_source(deps: Deps, request: Request) -> Answer:
    """202: it is applied at once, if it is still the same then; the source tells what came of it."""
    request.only()
    name = request.arguments["name"]
    body = read_object(request, {"digest": (str, ""), "commit": (str, "")})
    if bool(body["digest"]) == bool(body["commit"]):
        raise bad_request("name what is approved: its digest, or its commit", field="digest")
    before = _one(deps, request, name)
    try:
        deps.sources.approve(name, body["digest"] or body["commit"], request.by(202))
    except NotWaiting as error:
        hint = "look at it again: iaasctl describe source NAME"
        raise ApiError(409, "conflict", str(error), hint=hint) from None
    return Answer(status=202, body=before)


def _one(deps: Deps, request: Request, name: str) -> dict[str, Json]:
    for source, applied in deps.sources.all():
        if source.name == name:
            return _view(deps, request, source, applied)
    raise not_found(f"there is no watched directory {shown(name)}")


def _view(deps: Deps, request: Request, source: Source, applied: Applied) -> dict[str, Json]:
    objects = deps.cluster.snapshot().objects.values()
    lines = [dump(line) for line in source.lines]
    errors: list[dict[str, Any]] = [
        {
            "file": problem.file,
            "line": problem.line,
            "column": problem.column,
            "field": problem.field,
            "message": problem.message,
            "hint": problem.hint,
        }
        for problem in source.problems
    ]
    return {
        "name": source.name,
        "path": source.path,
        "kind": source.kind,
        "state": source.state,
        "ready": source.state is State.APPLIED,
        "reason": source.reason,
        "commit": applied.commit,
        "digest": applied.digest,
        "revision": applied.revision,
        "applied": applied.at or None,
        "objects": sum(item.source == source.name and not item.deleting for item in objects),
        "found": {"commit": source.commit, "digest": source.digest},
        "errors": errors,
        "notes": list(source.notes),
        "plan": lines if request.sees_secrets else [masked_line(line) for line in lines],
    }
