"""Nodes, images and machines: listing, looking at one, deleting one."""

import json

from manifests.codec import Json
from manifests.kinds import KINDS
from manifests.problem import did_you_mean, shown
from reconciler.api.deps import Deps
from reconciler.api.http import Answer, Request, bad_request, not_found
from reconciler.api.submissions import shown_outcome
from reconciler.core.model import Object, Snapshot
from reconciler.core.view import view, views

PLURALS = {kind.plural: kind.name for kind in KINDS.values()}


def list_objects(deps: Deps, request: Request) -> Answer:
    """All of a kind, or those whose fields have the values given in the query."""
    snapshot = deps.cluster.snapshot()
    items = views(snapshot, PLURALS[request.arguments["plural"]])
    for field, value in request.query.items():
        items = [item for item in items if _matches(item, field, value)]
    return Answer(body=items)


def get_object(deps: Deps, request: Request) -> Answer:
    request.only()
    snapshot = deps.cluster.snapshot()
    return Answer(body=view(snapshot, _find(snapshot, request)))


def delete_object(deps: Deps, request: Request) -> Answer:
    """202 with the object as it goes; it is gone when it is not found any more."""
    request.only("approve", "dryRun")
    item = _find(deps.cluster.snapshot(), request)
    dry_run = request.flag("dryRun")
    with deps.submissions.take():
        outcome = deps.desk.delete(
            [item.key],
            uid=item.uid,
            approve=request.flag("approve"),
            dry_run=dry_run,
            by=request.by(202),
        )
    if dry_run:
        return Answer(body=shown_outcome(outcome))
    after = deps.cluster.snapshot()
    current = after.objects.get(item.key)
    shown_item = current if current and current.uid == item.uid else item
    return Answer(status=202, body=view(after, shown_item))


def _find(snapshot: Snapshot, request: Request) -> Object:
    """By its whole name, or else its whole id."""
    kind, wanted = PLURALS[request.arguments["plural"]], request.arguments["name"]
    if item := snapshot.get(kind, wanted):
        return item
    for item in snapshot.of_kind(kind):
        if item.uid == wanted:
            return item
    raise not_found(f"there is no {kind.lower()} {shown(wanted)}")


def _matches(item: dict[str, Json], field: str, value: str) -> bool:
    name, _, rest = field.partition(".")
    if name not in item or (rest and not isinstance(item[name], dict)):
        hint = did_you_mean(name, item) or f"fields: {', '.join(item)}"
        raise bad_request(f"unknown field {shown(field)}", field=field[:100], hint=hint)
    found = item[name].get(rest) if rest else item[name]
    return value in map(_text, found) if isinstance(found, list) else value == _text(found)


def _text(value: Json) -> str:
    """As written in a query: strings bare, nothing for null, the rest as JSON."""
    if value is None:
        return ""
    return str(value) if isinstance(value, str) else json.dumps(value)
