"""The WSGI application: one table of routes. Bottle routes requests; everything else is ours."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.types import WSGIApplication

import bottle

from manifests.kinds import KINDS
from reconciler.api import blobs, changes, objects, sources, submissions
from reconciler.api.audit import refusal
from reconciler.api.auth import unauthorized
from reconciler.api.deps import Deps
from reconciler.api.errors import answer_to
from reconciler.api.http import Answer, ApiError, Request, bad_request
from reconciler.api.roles import UNKNOWN, Caller, Role
from reconciler.api.watching import Handler, watched, watched_object

ANYBODY, VIEWER, OPERATOR, ADMIN = Role.ANYBODY, Role.VIEWER, Role.OPERATOR, Role.ADMIN
HEALTH = "/health"
VERSION = version("iaasctl")
MOST_PARAMETERS = 32
PLAIN = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def health(deps: Deps, request: Request) -> Answer:
    """For everybody, so it tells little: whether the program works, and which it is."""
    request.only()
    if deps.cluster.store.failure:
        return Answer(status=503, body={"status": "failed"})
    return Answer(body={"status": "ok", "version": VERSION})


@dataclass(frozen=True, slots=True)
class Route:
    """`<name>` in `path` is one part of it. `least`: the role it takes, without which nobody gets
    in. `agent`: open to agents, too."""

    method: str
    path: str
    handler: Handler
    least: Role
    agent: bool = False


ROUTES = (
    Route("GET", HEALTH, health, ANYBODY),
    Route("POST", "/iaas/apply", submissions.apply, OPERATOR),
    Route("POST", "/iaas/delete", submissions.delete, OPERATOR),
    Route("GET", "/iaas/events", watched(submissions.events), VIEWER),
    Route("GET", "/iaas/audit", submissions.audit, ADMIN),
    Route("GET", "/iaas/blobs/<sha256>", blobs.get_blob, OPERATOR, agent=True),
    Route("PUT", "/iaas/blobs/<sha256>", blobs.put_blob, OPERATOR),
    Route("GET", "/iaas/sources", watched(sources.list_sources), VIEWER),
    Route("GET", "/iaas/sources/<name>", watched(sources.get_source), VIEWER),
    Route("POST", "/iaas/sources/<name>/approve", sources.approve_source, ADMIN),
    Route("GET", "/iaas/<plural:kind>", watched(objects.list_objects), VIEWER),
    Route("POST", "/iaas/<plural:kind>", changes.create_object, OPERATOR),
    Route("GET", "/iaas/<plural:kind>/<name>", watched_object(objects.get_object), VIEWER),
    Route("PUT", "/iaas/<plural:machines>/<name>", changes.put_machine, OPERATOR),
    Route("DELETE", "/iaas/<plural:kind>/<name>", changes.delete_object, OPERATOR),
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
