"""Watched directories as people see them: what is in force of each, what was found, what is wrong.

Here: the data. Not here: reading directories (`reconciler.watch`), keeping it (`reconciler.sources`).
"""

from dataclasses import dataclass
from enum import StrEnum

from manifests.problem import Problem
from reconciler.core.explain import PlanLine

DIRECTORY = "dir:"
"""What the names of such sources begin with; nobody else may use them."""

SOURCE_KIND = "Source"
"""What events about such a source are filed under."""


class State(StrEnum):
    """STARTING: not looked at yet. APPLIED: the cluster is told what the directory says.
    BROKEN: something is wrong in it. CONFLICT: it is refused for what the cluster is now, and tried
    again. WAITING: for approval. PAUSED: git is in the middle of something. EMPTY: no manifests.
    UNREADABLE: not to be read. UNWATCHED: no longer watched, though objects of it are left.

    In all but APPLIED what was applied last stays in force.
    """

    STARTING = "starting"
    APPLIED = "applied"
    BROKEN = "broken"
    CONFLICT = "conflict"
    WAITING = "waiting"
    PAUSED = "paused"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    UNWATCHED = "unwatched"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What is in force of a watched directory, kept with the change that brought it.

    `digest` is that of all its manifests, "" when none were ever applied; `commit` is "" without
    git. `revision` is the store's, `at` epoch seconds. `told`: what the last event about it said.
    """

    name: str
    path: str
    commit: str = ""
    digest: str = ""
    revision: int = 0
    at: float = 0
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A watched directory now. `kind` is plain or git; `digest` and `commit` are what is in it.

    `problems` are what is wrong in its files, at most so many as anybody reads; `lines` what it
    would do if it were approved; `notes` what was left out on purpose.
    """

    name: str
    path: str
    kind: str = ""
    state: State = State.STARTING
    reason: str = ""
    commit: str = ""
    digest: str = ""
    problems: tuple[Problem, ...] = ()
    lines: tuple[PlanLine, ...] = ()
    notes: tuple[str, ...] = ()
