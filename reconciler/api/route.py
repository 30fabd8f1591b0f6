"""What a route is: how it is reached, who may, which handler answers, and what is said about it.

Everything that tells of routes (the application, `/openapi.json`, the reference, tests) reads it from
here. Not here: the routes (`app.ROUTES`), and what is said of each (`about`).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from manifests.kinds import KINDS, Kind
from reconciler.api.deps import Deps
from reconciler.api.http import Answer, Request
from reconciler.api.roles import MAY_CHANGE, Role

Schema = Mapping[str, Any]
Handler = Callable[[Deps, Request], Answer]
JSON = "application/json"
BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Parameter:
    """`place`: query | header | path."""

    name: str
    place: str
    doc: str
    schema: Schema
    required: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """A body, of a request or of an answer. `schema` None: bytes, or with no `media` nothing."""

    doc: str
    schema: Schema | None = None
    media: str = JSON
    headers: tuple[str, ...] = ()
    example: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """`name` is unique among all. `answers` by status; `errors` are statuses beyond those that any
    request can meet."""

    name: str
    summary: str
    answers: Mapping[int, Content]
    parameters: tuple[Parameter, ...] = ()
    body: Content | None = None
    errors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """`<name>` in `path` is one part of it; `<plural:kind>` stands for each kind of object, of which
    `about` then is a function. `least`: the role it takes, without which nobody gets in. `agent`:
    open to agents, too."""

    method: str
    path: str
    handler: Handler
    least: Role
    about: About | Callable[[Kind], About]
    agent: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """A route for one kind of object, or for none. `path` is like `/iaas/machines/{name}`; `least`
    is the role that it takes for this kind."""

    path: str
    route: Route
    about: About
    least: Role


VARIABLE = re.compile("<([a-z0-9]+)(?::[a-z]+)?>")
PLURAL = "<plural:kind>"


def operations(routes: tuple[Route, ...]) -> Iterator[Operation]:
    """The routes as clients see them."""
    for route in routes:
        for kind in KINDS.values() if PLURAL in route.path else (None,):
            path = route.path.replace(PLURAL, kind.plural if kind else "")
            path = path.replace("<plural:machines>", "machines")
            about = route.about if isinstance(route.about, About) else route.about(_known(kind))
            yield Operation(VARIABLE.sub(r"{\1}", path), route, about, _least(route, kind))


def _least(route: Route, kind: Kind | None) -> Role:
    if kind is None or route.method == "GET" or kind.name in MAY_CHANGE[route.least]:
        return route.least
    return Role.ADMIN


def _known(kind: Kind | None) -> Kind:
    assert kind is not None, "only a route for every kind has a description for each"
    return kind
