"""Nodes, images and machines: listing them, and looking at one."""

from manifests.kinds import KINDS
from manifests.problem import shown
from manifests.scalars import Uid
from reconciler.api.deps import Deps
from reconciler.api.http import Answer, ApiError, Request, bad_request, not_found
from reconciler.core.model import Object, Snapshot
from reconciler.core.query import QueryError, select, terms_of
from reconciler.core.view import view, views

PLURALS = {kind.plural: kind.name for kind in KINDS.values()}


def list_objects(deps: Deps, request: Request) -> Answer:
    """All of a kind, or those whose fields have the values given in the query."""
    kind = kind_of(request)
    try:
        terms = terms_of(kind, request.query)
    except QueryError as error:
        raise bad_request(str(error), field=error.field, hint=error.hint) from None
    # Masked before it is selected from: nobody shall guess a secret by asking for it.
    items = views(deps.cluster.snapshot(), kind, secrets=request.sees_secrets)
    return Answer(body=select(items, terms))


def get_object(deps: Deps, request: Request) -> Answer:
    request.only()
    snapshot = deps.cluster.snapshot()
    item = find(snapshot, request)
    if item is None:
        raise missing(request)
    return answer(request, snapshot, item)


def answer(request: Request, snapshot: Snapshot, item: Object, status: int = 200) -> Answer:
    """With the object as it is now; with `item`, should it be gone already."""
    current = snapshot.objects.get(item.key)
    shown_item = current if current and current.uid == item.uid else item
    version = f"{shown_item.uid}:{shown_item.generation}"
    body = view(snapshot, shown_item, secrets=request.sees_secrets)
    return Answer(status=status, body=body, version=version)


def kind_of(request: Request) -> str:
    return PLURALS[request.arguments["plural"]]


def find(snapshot: Snapshot, request: Request) -> Object | None:
    """By its whole id, or else its whole name. An id cannot be taken by giving it as a name."""
    kind, wanted = kind_of(request), request.arguments["name"]
    if is_id(wanted):
        for item in snapshot.objects.values():
            if item.uid == wanted and item.manifest.kind == kind:
                return item
    return snapshot.get(kind, wanted)


def is_id(text: str) -> bool:
    try:
        Uid.from_json(text)
    except ValueError:
        return False
    return True


def missing(request: Request) -> ApiError:
    kind, wanted = kind_of(request), request.arguments["name"]
    return not_found(f"there is no {kind.lower()} {shown(wanted)}")
