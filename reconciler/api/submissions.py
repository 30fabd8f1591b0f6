"""Handing in desired state: apply and delete, for real or as a dry run, and the events they leave."""

import re
from dataclasses import asdict
from typing import Any

from manifests.codec import Json, dump
from manifests.kinds import KINDS
from manifests.problem import did_you_mean, shown
from reconciler.api.body import MIB, read_object
from reconciler.api.deps import Deps
from reconciler.api.http import Answer, ApiError, Request, bad_request
from reconciler.core.preview import Outcome
from reconciler.core.sources import DIRECTORY, SOURCE_KIND
from reconciler.submit import API

LARGEST_APPLY = 64 * MIB
MOST_DOCUMENTS = 200_000
MOST_EVENTS = 1000
SOURCE = re.compile("[a-z][a-z0-9-]{0,31}(:[A-Za-z0-9._-]{1,64})?")
TOLD_OF = (*KINDS, SOURCE_KIND)
OBJECT = {"kind": str, "name": str}


def apply(deps: Deps, request: Request) -> Answer:
    request.only("dryRun")
    dry_run = request.flag("dryRun")
    with deps.places(request.length).take():
        body = read_object(
            request,
            {
                "source": (str, API),
                "documents": (list, ...),
                "prune": (bool, False),
                "approve": (bool, False),
            },
            largest=LARGEST_APPLY,
        )
        if not SOURCE.fullmatch(body["source"]):
            raise bad_request(f"{shown(body['source'])} is not a name of a source", field="source")
        if body["source"].startswith(DIRECTORY):
            raise ApiError(
                403,
                "forbidden",
                f"{body['source']} is a watched directory; what it owns is changed there",
                field="source",
                hint="write the manifests into that directory, or apply them under another name",
            )
        if len(body["documents"]) > MOST_DOCUMENTS:
            raise ApiError(413, "too_large", f"more than {MOST_DOCUMENTS} documents")
        outcome = deps.desk.apply(
            body["documents"],
            source=body["source"],
            prune=body["prune"],
            dry_run=dry_run,
            approve=body["approve"],
            by=request.by(),
        )
    return Answer(body=shown_outcome(outcome))


def delete(deps: Deps, request: Request) -> Answer:
    request.only("dryRun")
    dry_run = request.flag("dryRun")
    with deps.submissions.take():
        body = read_object(request, {"objects": (list, ...), "approve": (bool, False)})
        keys = [_key(item, f"objects[{index}]") for index, item in enumerate(body["objects"])]
        outcome = deps.desk.delete(keys, dry_run=dry_run, approve=body["approve"], by=request.by())
    return Answer(body=shown_outcome(outcome))


def events(deps: Deps, request: Request) -> Answer:
    """The last `limit` events, or the first `limit` after the id `since`."""
    request.only("since", "kind", "name", "limit")
    kind = request.query.get("kind")
    if kind not in (None, *TOLD_OF):
        hint = did_you_mean(kind or "", TOLD_OF) or f"kinds: {', '.join(TOLD_OF)}"
        raise bad_request(f"{shown(kind)} is not a kind", field="kind", hint=hint)
    found = deps.cluster.store.events(
        since=request.number("since", None),
        kind=kind,
        name=request.query.get("name"),
        limit=request.number("limit", MOST_EVENTS, largest=MOST_EVENTS),
    )
    return Answer(body=[{"id": item.id} | dump(item.event) for item in found])


def audit(deps: Deps, request: Request) -> Answer:
    """The last `limit` entries, or the first `limit` after the id `since`; refusals of a moment ago,
    too."""
    request.only("since", "limit")
    deps.refusals.flush()
    found = deps.cluster.store.audited(
        since=request.number("since", None),
        limit=request.number("limit", MOST_EVENTS, largest=MOST_EVENTS),
    )
    return Answer(body=[{"id": it.id, **asdict(it.entry), "revision": it.revision} for it in found])


def _key(item: Json, path: str) -> tuple[str, str]:
    if not isinstance(item, dict) or set(item) != set(OBJECT):
        raise bad_request("each object needs kind and name, and nothing else", field=path)
    kind, name = item["kind"], item["name"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise bad_request(f"{shown(kind)} is not a kind", field=f"{path}.kind")
    if not isinstance(name, str):
        raise bad_request("the name is not a string", field=f"{path}.name")
    return kind, name


def shown_outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "revision": outcome.revision,
        "changed": outcome.changed,
        "lines": [dump(line) for line in outcome.lines],
        "brake": outcome.brake,
    }
