"""The WSGI application: one table of routes. Bottle routes requests; everything else is ours."""

import json
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.types import WSGIApplication

import bottle

from manifests.kinds import KINDS
from reconciler.api import about, blobs, changes, objects, openapi, sources, submissions
from reconciler.api.audit import refusal
from reconciler.api.auth import unauthorized
from reconciler.api.deps import Deps
from reconciler.api.errors import answer_to
from reconciler.api.http import VERSION, Answer, ApiError, Request, bad_request
from reconciler.api.roles import UNKNOWN, Caller, Role
from reconciler.api.route import Route
from reconciler.api.watching import watched, watched_object

ANYBODY, VIEWER, OPERATOR, ADMIN = Role.ANYBODY, Role.VIEWER, Role.OPERATOR, Role.ADMIN
HEALTH, BLOB = "/health", "/iaas/blobs/<sha256>"
SOURCES, SOURCE, APPROVAL = "/iaas/sources", "/iaas/sources/<name>", "/iaas/sources/<name>/approve"
ALL, ONE, MACHINE = (
    "/iaas/<plural:kind>",
    "/iaas/<plural:kind>/<name>",
    "/iaas/<plural:machines>/<name>",
)
MOST_PARAMETERS = 32
PLAIN = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def health(deps: Deps, request: Request) -> Answer:
    """For everybody, so it tells little: whether the program works, and which it is."""
    request.only()
    if deps.cluster.store.failure:
        return Answer(status=503, body={"status": "failed"})
    return Answer(body={"status": "ok", "version": VERSION})


def describe(_: Deps, request: Request) -> Answer:
    request.only()
    return Answer(body=_document())


@cache
def _document() -> dict[str, Any]:
    return openapi.document(ROUTES)


ROUTES = (
    Route("GET", HEALTH, health, ANYBODY, about.HEALTH),
    Route("GET", "/openapi.json", describe, ANYBODY, about.OPENAPI),
    Route("POST", "/iaas/apply", submissions.apply, OPERATOR, about.APPLY),
    Route("POST", "/iaas/delete", submissions.delete, OPERATOR, about.DELETE),
    Route("GET", "/iaas/events", watched(submissions.events), VIEWER, about.EVENTS),
    Route("GET", "/iaas/audit", submissions.audit, ADMIN, about.AUDIT),
    Route("GET", BLOB, blobs.get_blob, OPERATOR, about.GET_BLOB, agent=True),
    Route("PUT", BLOB, blobs.put_blob, OPERATOR, about.PUT_BLOB),
    Route("GET", SOURCES, watched(sources.list_sources), VIEWER, about.LIST_SOURCES),
    Route("GET", SOURCE, watched(sources.get_source), VIEWER, about.GET_SOURCE),
    Route("POST", APPROVAL, sources.approve_source, ADMIN, about.APPROVE_SOURCE),
    Route("GET", ALL, watched(objects.list_objects), VIEWER, about.listing),
    Route("POST", ALL, changes.create_object, OPERATOR, about.creating),
    Route("GET", ONE, watched_object(objects.get_object), VIEWER, about.showing),
    Route("PUT", MACHINE, changes.put_machine, OPERATOR, about.SET_STATE),
    Route("DELETE", ONE, changes.delete_object, OPERATOR, about.deleting),
)
PUBLIC = {route.path for route in ROUTES if route.least is ANYBODY}


def make_app(deps: Deps) -> WSGIApplication:
    app = bottle.Bottle()
    plurals = "|".join(kind.plural for kind in KINDS.values())
    app.router.add_filter("kind", lambda _: (plurals, None, None))
    app.router.add_filter("machines", lambda _: ("machines", None, None))
    app.add_hook("before_request", lambda: _admit(deps))
    app.add_hook("after_request", lambda: _write_down(deps))
    app.default_error_handler = _routing_error
    for route in ROUTES:
        app.route(route.path, route.method, _callback(deps, route))
    wsgi: WSGIApplication = app
    return wsgi


def _admit(deps: Deps) -> None:
    """Before anything of a request is looked at but its path: who is it?"""
    environ = bottle.request.environ
    environ["iaas.caller"] = UNKNOWN
    try:
        if environ["bottle.raw_path"] not in PUBLIC:
            environ["iaas.caller"] = caller = _caller(deps, environ)
            if caller.role is ANYBODY:
                raise unauthorized()
        # Bottle would leave broken bytes out of the path, and find another object by what remains.
        environ["bottle.raw_path"].encode("latin-1").decode()
    except UnicodeDecodeError:
        raise _response(bad_request("the path is not UTF-8").answer) from None
    except ApiError as error:
        raise _response(error.answer) from None


def _caller(deps: Deps, environ: dict[str, Any]) -> Caller:
    """What proxies and clients say of themselves in other headers counts for nothing."""
    role, who = deps.tokens.role(environ.get("HTTP_AUTHORIZATION", ""))
    return Caller(role, who, environ.get("REMOTE_ADDR", ""))


def _callback(deps: Deps, route: Route) -> Callable[..., Any]:
    def call(**arguments: str) -> Any:
        try:
            _permit(route, bottle.request.environ["iaas.caller"])
            answer = route.handler(deps, _request(arguments))
        except Exception as error:
            answer = answer_to(error)
        return _response(answer)

    return call


def _write_down(deps: Deps) -> None:
    """Refused requests, also those that met no route."""
    environ, status = bottle.request.environ, bottle.response.status_code
    if status >= HTTPStatus.BAD_REQUEST:
        answer = environ.get("iaas.answer") or _unrouted(status)
        by = environ["iaas.caller"].asks(environ["REQUEST_METHOD"], environ["PATH_INFO"], status)
        if entry := refusal(by, answer.body):
            deps.refusals.add(entry)


def _permit(route: Route, caller: Caller) -> None:
    if caller.is_a(route.least) or (route.agent and caller.role is Role.AGENT):
        return
    if caller.role is Role.AGENT:
        raise ApiError(403, "forbidden", "agents may only fetch images")
    message = f"the role {route.least} may do this, {caller.role} may not"
    raise ApiError(403, "forbidden", message, hint=f"use a token of the role {route.least}")


def _request(arguments: dict[str, str]) -> Request:
    environ = bottle.request.environ
    return Request(
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"],
        headers=_headers(environ),
        stream=environ["wsgi.input"],
        arguments=arguments,
        query=_query(environ.get("QUERY_STRING", "")),
        caller=environ["iaas.caller"],
    )


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    special = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}
    return headers | {name: environ.get(key, "") for name, key in special.items()}


def _query(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS
        )
    except ValueError:
        raise bad_request("the query is not valid, or too long") from None
    if len(query := dict(pairs)) != len(pairs):
        raise bad_request("a query parameter occurs twice")
    return query


def _response(answer: Answer) -> Any:
    headers = {**PLAIN, **answer.headers}
    bottle.request.environ["iaas.answer"] = answer
    if answer.file is not None:
        return bottle.HTTPResponse(answer.file, answer.status, headers)
    body = json.dumps(answer.body, separators=(",", ":")).encode() + b"\n"
    headers["Content-Type"] = "application/json"
    if answer.status == HTTPStatus.NOT_MODIFIED:
        body = b""
    return bottle.HTTPResponse(body, answer.status, headers)


def _routing_error(error: Any) -> bytes:
    """No route, another method, or a broken path: in the one shape of errors."""
    answer = _unrouted(error.status_code)
    for name, value in PLAIN.items():
        bottle.response.set_header(name, value)
    bottle.response.content_type = "application/json"
    return json.dumps(answer.body).encode() + b"\n"


def _unrouted(number: int) -> Answer:
    status = HTTPStatus(number)
    code = status.phrase.lower().replace(" ", "_")
    message = f"{status.phrase}: {bottle.request.method} {bottle.request.path[:200]}"
    return ApiError(status, code, message).answer
