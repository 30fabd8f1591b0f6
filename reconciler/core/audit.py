"""The audit: who asked for what, and what came of it. One entry per request that changed something
or was refused. No secret is ever in it."""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.core.access import Actor
from reconciler.core.desired import Change

NAMED = 100
"""Objects of one submission; the message counts them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """`at` epoch seconds; `objects` as `kind/name`; `error` the code of a refusal, "" of a change.
    `times`: so many alike came shortly after one another."""

    at: float
    who: str
    peer: str
    method: str
    path: str
    action: str
    status: int
    objects: tuple[str, ...] = ()
    error: str = ""
    message: str = ""
    times: int = 1


def entry_of(
    actor: Actor, action: str, at: float, *, objects: Sequence[str] = (), message: str = ""
) -> Entry:
    """What the audit says of something that was done."""
    return Entry(
        at=round(at, 3),
        who=actor.who,
        peer=actor.peer,
        method=actor.method,
        path=actor.path,
        action=action,
        status=actor.status,
        objects=tuple(objects),
        message=message,
    )


def entry_of_changes(actor: Actor, changes: Sequence[Change], source: str, at: float) -> Entry:
    """Of a submission that is stored."""
    ordered = sorted(changes, key=lambda change: (WORDS.index(_word(change)), change.key))
    words = [_word(change) for change in ordered]
    counts = [f"{words.count(word)} {word}d" for word in WORDS if word in words]
    return entry_of(
        actor,
        words[0] if len(set(words)) == 1 else "apply",
        at,
        objects=[name_of(*change.key) for change in ordered[:NAMED]],
        message=f"{source}: {', '.join(counts)}",
    )


WORDS = ("delete", "change", "create")
"""What can be done to an object; the gravest first."""


def _word(change: Change) -> str:
    if change.before is None:
        return "create"
    return "change" if change.after else "delete"


def name_of(kind: str, name: str) -> str:
    return f"{kind.lower()}/{name}"
