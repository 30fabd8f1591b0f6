"""Long-polling: a GET may name the version it knows and wait for another one.

The version is read before the state, so that an answer is never older than its version says. It
names the term too: after a restart of the controller, versions count from the beginning.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from reconciler.api.deps import Deps
from reconciler.api.http import Answer, Request

LONGEST = 30.0
WAIT = re.compile(
    r'(?:^|,)\s*wait\s*=\s*"?([0-9]{1,6}(?:\.[0-9]{1,6})?)"?\s*(?:$|[,;])', re.IGNORECASE
)

Handler = Callable[[Deps, Request], Answer]


def watched(handler: Handler) -> Handler:
    """The handler's answer with its version; 304 if the client has that version already."""

    def answer(deps: Deps, request: Request) -> Answer:
        known = request.header("if-none-match").removeprefix("W/")
        version = _wait(deps, known, _patience(request))
        if known == version:
            return Answer(status=304, headers={"ETag": version})
        result = handler(deps, request)
        return replace(result, headers={**result.headers, "ETag": version})

    return answer


def _wait(deps: Deps, known: str, patience: float) -> str:
    """The version, as soon as it is another than `known`, or after `patience` seconds."""
    signal = deps.cluster.signal
    version = signal.version
    if patience and known == _tag(deps, version) and not deps.closing:
        with deps.waiters.take():
            version = signal.wait(version, patience)
    return _tag(deps, version)


def _tag(deps: Deps, version: int) -> str:
    return f'"{deps.cluster.store.term}.{version}"'


def _patience(request: Request) -> float:
    found = WAIT.search(request.header("prefer"))
    return min(float(found[1]), LONGEST) if found else 0.0
