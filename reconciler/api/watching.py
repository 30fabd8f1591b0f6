"""Versions: long-polling by them, and changing only what has not changed meanwhile.

A GET may name the version it knows and wait for another one (If-None-Match, Prefer: wait=N). The
version is read before the state, so that an answer is never older than its version says. It names
the term too: after a restart of the controller, versions count from the beginning.

The version of one object begins with its own, `"UID:GENERATION:TERM.VERSION"`; only that counts for
If-Match, since what agents observed is no change of what anybody wants.
"""

import re
from collections.abc import Callable

from manifests.scalars import Uid
from reconciler.api.auth import unauthorized
from reconciler.api.deps import Deps
from reconciler.api.http import Answer, Request, bad_request
from reconciler.api.route import Handler
from reconciler.core.model import Snapshot
from reconciler.core.single import Version

LONGEST = 30.0
WAIT = re.compile(
    r'(?:^|,)\s*wait\s*=\s*"?([0-9]{1,6}(?:\.[0-9]{1,6})?)"?\s*(?:$|[,;])', re.IGNORECASE
)
TAG = r'(?:W/)?"[\x21\x23-\x7e]{0,256}"'
TAGS = re.compile(rf"{TAG}(?:[ \t]*,[ \t]*{TAG}){{0,31}}")
OBJECT_TAG = re.compile(r'(?<!W/)"([0-9a-f-]{36}):([0-9]{1,15}):[0-9.]+"')


def watched(handler: Handler) -> Handler:
    """The handler's answer with its version; 304 if the client has that version already."""

    def answer(deps: Deps, request: Request) -> Answer:
        known = request.header("if-none-match").removeprefix("W/")
        version = _wait(deps, request, known)
        if known == f'"{version}"':
            return Answer(status=304, headers={"ETag": known})
        return _with_tag(handler(deps, request), version)

    return answer


def watched_object(handler: Handler) -> Handler:
    """The same for an answer that shows one object."""

    def answer(deps: Deps, request: Request) -> Answer:
        known = request.header("if-none-match").removeprefix("W/")
        version = _wait(deps, request, known)
        result = _with_tag(handler(deps, request), version)
        if known == result.headers["ETag"]:
            return Answer(status=304, headers={"ETag": known})
        return result

    return answer


def tagged(deps: Deps, make: Callable[[Snapshot], Answer]) -> Answer:
    """The answer made from what is now, with its version."""
    version = _version(deps, deps.cluster.signal.version)
    return _with_tag(make(deps.cluster.snapshot()), version)


def wanted_versions(request: Request) -> frozenset[Version] | None:
    """Those that If-Match names; None where any will do."""
    text = request.headers.get("if-match", "*").strip(" \t")
    if text == "*":
        return None
    if not TAGS.fullmatch(text):
        raise bad_request(
            "If-Match is neither * nor a list of versions",
            field="If-Match",
            hint="send the ETag of an answer",
        )
    return frozenset(Version(Uid(uid), int(count)) for uid, count in OBJECT_TAG.findall(text))


def patience(request: Request) -> float:
    """Seconds that the client is ready to wait."""
    found = WAIT.search(request.header("prefer"))
    return min(float(found[1]), LONGEST) if found else 0.0


def _with_tag(answer: Answer, version: str) -> Answer:
    own = f"{answer.version}:" if answer.version else ""
    return answer.with_header("ETag", f'"{own}{version}"')


def _wait(deps: Deps, request: Request, known: str) -> str:
    """The version, as soon as it is another than that in `known`, or after the client's patience."""
    signal = deps.cluster.signal
    version = signal.version
    last = known.strip('"').rpartition(":")[2]
    seconds = patience(request)
    if seconds and last == _version(deps, version) and not deps.closing:
        with deps.waiters.take():
            version = signal.wait(version, seconds)
        role, _ = deps.tokens.role(request.header("authorization"))
        if role is not request.caller.role:  # the token was taken back meanwhile
            raise unauthorized()
    return _version(deps, version)


def _version(deps: Deps, version: int) -> str:
    return f"{deps.cluster.store.term}.{version}"
