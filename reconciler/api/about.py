"""What is said of each route: what it does, what it takes, what it answers. One entry per route."""

import re

from manifests.kinds import Kind
from manifests.scalars import RegistryReference, Sha256
from reconciler.api.http import LARGEST_NUMBER
from reconciler.api.route import BYTES, About, Content, Parameter, Schema
from reconciler.api.schemas import COUNT, STRING, listed, record, ref
from reconciler.api.submissions import MOST_EVENTS, TOLD_OF
from reconciler.core.fields import FIELDS
from reconciler.core.query import QUERY

BOOL_TEXT: Schema = {"type": "string", "enum": ["true", "false"]}
SHA256 = Parameter("sha256", "path", "digest of the bytes", Sha256.SCHEMA, True)
NAME = Parameter("name", "path", "its exact name, or its exact id", STRING | {"minLength": 1}, True)
DRY_RUN = Parameter("dryRun", "query", "answer with the plan and change nothing", BOOL_TEXT)
KEY = Parameter(
    "Idempotency-Key",
    "header",
    "the same request with the same key makes one object, for 24 hours",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
)
IF_MATCH = Parameter(
    "If-Match",
    "header",
    "an ETag: only if nobody has changed the object since",
    {"anyOf": [{"const": "*"}, {"type": "string", "pattern": '^"[!#-~]{0,256}"$'}]},
)
IF_NONE_MATCH = Parameter(
    "If-None-Match", "header", "the ETag of the last answer: 304 if there is no news", STRING
)
WAIT = Parameter(
    "Prefer",
    "header",
    "wait=N: answer as soon as there is news, after N seconds at the latest",
    {"type": "string", "examples": ["wait=1"]},
)
OFFSET = {"type": "string", "pattern": "^[0-9]{1,18}$"}
SINCE = Parameter("since", "query", "only those after this id", COUNT | {"maximum": LARGEST_NUMBER})
LIMIT = Parameter("limit", "query", "so many at most", COUNT | {"maximum": MOST_EVENTS})
NOT_CHANGED = Content("nothing has changed since", media="", headers=("ETag",))
GONE = Content("nothing of it is left", media="")


TERMS = 8
"""Of a query, as described: the server takes more, but programs that read patterns choke on them."""


def _a(kind: Kind) -> str:
    return f"{'an' if kind.name[0] in 'AEIOU' else 'a'} {kind.name.lower()}"


def _by_fields(kind: Kind) -> tuple[Parameter, ...]:
    fields = FIELDS[kind.name]
    term = f"({'|'.join(map(_term, fields, fields.values()))})=[^,]*"
    query = Parameter(
        QUERY,
        "query",
        "FIELD=VALUE,...: all must hold; of an object's part, PART.FIELD=VALUE",
        {
            "type": "string",
            "pattern": f"^({term}(,{term}){{0,{TERMS - 1}}})?$",
            "examples": ["name=n1,labels.rack=a"],
        },
    )
    plain = (
        Parameter(name, "query", f"only those of this {name}", STRING)
        for name, schema in fields.items()
        if schema.get("type") != "object"
    )
    return (query, *plain)


def _term(name: str, schema: Schema) -> str:
    """A pattern for what can be asked of a field: of an object, its parts."""
    if schema.get("type") != "object":
        return re.escape(name)
    known = "|".join(map(re.escape, schema.get("properties", ())))
    return rf"{re.escape(name)}\.({known})" if known else rf"{re.escape(name)}\.[^,=]+"


def listing(kind: Kind) -> About:
    return About(
        name=f"list{kind.name}s",
        summary=f"The {kind.plural}, or those whose fields have these values.",
        parameters=(*_by_fields(kind), IF_NONE_MATCH, WAIT),
        answers={
            200: Content("by name", listed(ref(kind.name)), headers=("ETag",)),
            304: NOT_CHANGED,
        },
    )


def showing(kind: Kind) -> About:
    return About(
        name=f"get{kind.name}",
        summary=f"One {kind.name.lower()}.",
        parameters=(NAME, IF_NONE_MATCH, WAIT),
        answers={200: Content("it", ref(kind.name), headers=("ETag",)), 304: NOT_CHANGED},
        errors=(404,),
    )


EXAMPLES = {
    "Node": {"name": "n1", "addr": "192.168.1.11:7701"},
    "Image": {"name": "nginx", "registry": RegistryReference.SCHEMA["examples"][0]},
    "Machine": {"name": "web", "image": "debian", "mem": 512, "ports": ["8080:80"]},
}


def creating(kind: Kind) -> About:
    made = Content("it is stored", ref(kind.name), headers=("ETag", "Location"))
    return About(
        name=f"create{kind.name}",
        summary=f"Make {_a(kind)}; its name must be new.",
        parameters=(KEY,),
        body=Content(
            f"the new {kind.name.lower()}", ref(f"New{kind.name}"), example=EXAMPLES[kind.name]
        ),
        answers={201: made},
        errors=(409, 410, 507),
    )


SET_STATE = About(
    name="setMachineState",
    summary="Start or stop a machine.",
    parameters=(NAME, IF_MATCH),
    body=Content(
        "what it shall be", record({"state": {"type": "string", "enum": ["running", "stopped"]}})
    ),
    answers={200: Content("it is stored", ref("Machine"), headers=("ETag",))},
    errors=(404, 409, 412, 507),
)


def deleting(kind: Kind) -> About:
    going = Content("it goes as soon as it can", ref(kind.name), headers=("ETag",))
    return About(
        name=f"delete{kind.name}",
        summary=f"Delete {_a(kind)}{'' if kind.name == 'Machine' else ' that no machine uses'}.",
        parameters=(NAME, IF_MATCH, WAIT),
        answers={202: going, 204: GONE},
        errors=(404, 409, 412, 507),
    )


HEALTH = About(
    name="health",
    summary="Whether the program works. Takes no token.",
    answers={
        200: Content("it does", record({"status": {"const": "ok"}, "version": STRING})),
        503: Content("it does not", record({"status": {"const": "failed"}})),
    },
)
OPENAPI = About(
    name="describe",
    summary="This description. Takes no token.",
    answers={200: Content("OpenAPI 3.1", {"type": "object"})},
)
APPLY = About(
    name="apply",
    summary="Make a set of manifests true, whole or not at all.",
    parameters=(DRY_RUN,),
    body=Content("the set", ref("Apply")),
    answers={200: Content("it is stored", ref("Outcome"))},
    errors=(409, 507),
)
DELETE = About(
    name="delete",
    summary="Delete a set of objects, whole or not at all; a node's machines move away first.",
    parameters=(DRY_RUN,),
    body=Content("the objects", ref("Delete")),
    answers={200: Content("it is stored", ref("Outcome"))},
    errors=(409, 507),
)
EVENTS = About(
    name="listEvents",
    summary="What happened: the last events, or the first ones after an id.",
    parameters=(
        SINCE,
        Parameter("kind", "query", "only those of this kind", STRING | {"enum": list(TOLD_OF)}),
        Parameter("name", "query", "only those of objects of this name", STRING),
        LIMIT,
        IF_NONE_MATCH,
        WAIT,
    ),
    answers={
        200: Content("oldest first", listed(ref("Event")), headers=("ETag",)),
        304: NOT_CHANGED,
    },
)
AUDIT = About(
    name="listAudit",
    summary="Who changed what, and what was refused: the last entries, or the first ones after an id.",
    parameters=(SINCE, LIMIT),
    answers={200: Content("oldest first", listed(ref("Audited")))},
)
LIST_SOURCES = About(
    name="listSources",
    summary="The watched directories.",
    parameters=(IF_NONE_MATCH, WAIT),
    answers={200: Content("all", listed(ref("Source")), headers=("ETag",)), 304: NOT_CHANGED},
)
SOURCE_NAME = Parameter("name", "path", "its exact name", STRING | {"minLength": 1}, True)
GET_SOURCE = About(
    name="getSource",
    summary="One watched directory: what is in force of it, and what is wrong in it.",
    parameters=(SOURCE_NAME, IF_NONE_MATCH, WAIT),
    answers={200: Content("it", ref("Source"), headers=("ETag",)), 304: NOT_CHANGED},
    errors=(404,),
)
APPROVE_SOURCE = About(
    name="approveSource",
    summary="Let through what a watched directory holds for approval.",
    parameters=(SOURCE_NAME,),
    body=Content("what is approved", ref("Approval")),
    answers={202: Content("it is applied at once, if it is still the same then", ref("Source"))},
    errors=(404, 409, 507),
)
GET_BLOB = About(
    name="getBlob",
    summary="The bytes of an image; HEAD tells whether they are here.",
    parameters=(
        SHA256,
        Parameter("Range", "header", "bytes=N-: from here on", STRING),
        Parameter("If-Range", "header", "the ETag that the range belongs to", STRING),
    ),
    answers={
        200: Content("all of them", media=BYTES, headers=("ETag",)),
        206: Content("the rest of them", media=BYTES, headers=("ETag", "Content-Range")),
    },
    errors=(404, 416),
)
PUT_BLOB = About(
    name="putBlob",
    summary="Upload the bytes of an image; goes on where it broke off.",
    parameters=(
        SHA256,
        Parameter("Upload-Offset", "header", "where these bytes begin", OFFSET),
        Parameter("Upload-Length", "header", "length of the whole", OFFSET),
    ),
    body=Content("the bytes", media=BYTES),
    answers={
        200: Content("they were here", ref("Blob")),
        201: Content("all are here now", ref("Blob")),
        202: Content("more must come", ref("Blob"), headers=("Upload-Offset",)),
    },
    errors=(409, 507),
)
