"""The API's description, OpenAPI 3.1, made from the table of routes.

Not here: what is said of each route (`about`), and the schemas (`schemas`).
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from reconciler.api.http import VERSION
from reconciler.api.roles import Role
from reconciler.api.route import About, Content, Operation, Parameter, Route, operations
from reconciler.api.schemas import SCHEMAS, ref

Json = dict[str, Any]

ALWAYS = (400, 408, 429, 431, 500, 503)
WITH_TOKEN = (401, 403)
WITH_BODY = (411, 413, 422)
WITH_JSON = (415,)
ABOUT = """\
Desired state of nodes, images and machines. Every error has one shape (`Error`). Every object has an
ETag, `"ID:GENERATION:VERSION"`; with `If-None-Match` and `Prefer: wait=N` a GET waits for news, with
`If-Match` a change is made only if nobody has changed the object since."""
HEADERS: dict[str, Json] = {
    "ETag": {"description": "the version of the answer"},
    "Location": {"description": "where the new object is found"},
    "Content-Range": {"description": "which bytes these are"},
    "Upload-Offset": {"description": "how many bytes are here"},
}


def document(routes: tuple[Route, ...]) -> Json:
    paths: dict[str, Json] = {}
    for operation in operations(routes):
        method = operation.route.method.lower()
        paths.setdefault(operation.path, {})[method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "iaas-reconciler", "version": VERSION, "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def errors_of(operation: Operation) -> tuple[int, ...]:
    """The statuses with which it can fail."""
    about = operation.about
    found = {*ALWAYS, *about.errors}
    if operation.least is not Role.ANYBODY:
        found |= set(WITH_TOKEN)
    if about.body is not None:
        found |= {*WITH_BODY, *(WITH_JSON if about.body.schema else ())}
    return tuple(sorted(found - set(about.answers)))


def _operation(operation: Operation) -> Json:
    about, least = operation.about, operation.least
    found: Json = {
        "operationId": about.name,
        "summary": about.summary,
        "tags": [_tag(operation.path)],
        "parameters": [_parameter(item) for item in about.parameters],
        "responses": _answers(about, errors_of(operation)),
        "security": [],
    }
    if least is not Role.ANYBODY:
        found["description"] = f"Takes the role {least}."
        found["security"] = [{"token": []}]
    if about.body is not None:
        found["requestBody"] = {"required": True, **_content(about.body)}
    return found


def _tag(path: str) -> str:
    return re.split("[/.]", path.removeprefix("/iaas"))[1]


def _parameter(item: Parameter) -> Json:
    found = {"name": item.name, "in": item.place, "description": item.doc, "schema": item.schema}
    return found | ({"required": True} if item.required else {})


def _answers(about: About, errors: Iterable[int]) -> Json:
    found = {str(status): _answer(content) for status, content in about.answers.items()}
    for status in errors:
        content = Content(HTTPStatus(status).phrase, ref("Error"))
        found[str(status)] = _answer(content)
    return found


def _answer(content: Content) -> Json:
    headers = {
        name: HEADERS[name] | {"required": True, "schema": {"type": "string"}}
        for name in content.headers
    }
    return _content(content) | ({"headers": headers} if headers else {})


def _content(content: Content) -> Json:
    found: Json = {"description": content.doc}
    if content.media:
        described = {"schema": content.schema, "example": content.example}
        known = {name: value for name, value in described.items() if value is not None}
        found["content"] = {content.media: known}
    return found
