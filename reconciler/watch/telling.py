"""What is said of one watched directory: on the board always, in an event and the log once for each
content and reason, also over restarts of the program; and what is kept of it with its changes."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from manifests.problem import Problem
from reconciler.core.events import Event
from reconciler.core.explain import PlanLine
from reconciler.core.sources import SOURCE_KIND, Applied, Source, State
from reconciler.sources import Sources
from reconciler.store import Record, Store
from reconciler.watch.found import Found

log = logging.getLogger("reconciler.watch")

MOST = 1000
"""Problems, notes and lines of a plan that are kept."""

WORDS = {
    State.APPLIED: "Applied",
    State.BROKEN: "Broken",
    State.CONFLICT: "Conflict",
    State.WAITING: "NeedsApproval",
    State.PAUSED: "Paused",
    State.EMPTY: "Empty",
    State.UNREADABLE: "Unreadable",
}


class Teller:
    def __init__(
        self, name: str, path: str, *, store: Store, sources: Sources, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._sources = sources
        self._clock = clock
        self._row = store.sources().get(name) or Applied(name=name, path=path)
        self._source = Source(name=name, path=path)
        sources.put(self._source)

    def tell(self, found: Found | None, state: State, reason: str, *, once: bool = True) -> None:
        """`found` is None where nothing is known of the content. Without `once`: only on the board."""
        self._tell(replace(self._blank(found), state=state, reason=reason), once=once)

    def faulty(self, found: Found, state: State, problems: Sequence[Problem]) -> None:
        rest = len(problems) - 1
        first = str(problems[0]).removeprefix(":1:1: ")  # of something that is not in a file
        reason = first + (f" (and {rest} more)" if rest else "")
        source = replace(self._blank(found), state=state, reason=reason)
        self._tell(replace(source, problems=tuple(problems[:MOST])))

    def waiting(self, found: Found, reason: str, lines: tuple[PlanLine, ...]) -> None:
        source = replace(self._blank(found), state=State.WAITING, lines=lines[:MOST])
        self._tell(replace(source, reason=f"it waits for approval: {reason}"))

    def in_force(self, found: Found, changed: int) -> Sequence[Record]:
        """What is kept with the change that brings it into force; nothing where all is as before."""
        row = self._row_of(found)
        if not changed and row == self._row:
            return ()
        now = round(self._clock(), 3)
        event = self._event(State.APPLIED, _summary(found, changed))
        return replace(row, at=now), event

    def applied(self, found: Found, changed: int) -> None:
        """It is in force, and `in_force` is stored."""
        self._row = self._store.sources().get(self._row.name, self._row_of(found))
        if changed:
            log.info("%s: %s", self._row.name, _summary(found, changed))
        self._show(replace(self._blank(found), state=State.APPLIED))

    def _row_of(self, found: Found) -> Applied:
        told = _told(replace(self._blank(found), state=State.APPLIED))
        return replace(
            self._row,
            path=self._source.path,
            commit=found.commit,
            digest=found.digest,
            told=told,
        )

    def _tell(self, source: Source, *, once: bool = True) -> None:
        told = _told(source)
        if once and told != self._row.told:
            what = f"commit {source.commit}: " if source.commit else ""
            log.warning("%s: %s: %s%s", source.name, source.state, what, source.reason)
            row = replace(self._row, path=source.path, told=told)
            self._store.record([row, self._event(source.state, what + source.reason)])
            self._row = row
        self._show(source)

    def _show(self, source: Source) -> None:
        self._source = source
        self._sources.put(source)

    def _blank(self, found: Found | None) -> Source:
        known = Source(name=self._row.name, path=self._source.path, kind=self._source.kind)
        if found is None:
            return known
        return replace(
            known,
            kind=found.kind,
            commit=found.commit,
            digest=found.digest if found.files or found.problems else "",
            notes=found.notes[:MOST],
        )

    def _event(self, state: State, message: str) -> Event:
        return Event(
            at=round(self._clock(), 3),
            kind=SOURCE_KIND,
            name=self._row.name,
            uid="",
            reason=WORDS[state],
            message=message,
        )


def _summary(found: Found, changed: int) -> str:
    what = f"commit {found.commit}" if found.commit else f"{len(found.files)} files"
    return f"{what} in force: {changed} object{'' if changed == 1 else 's'} changed"


def _told(source: Source) -> str:
    """Tells apart what was said; the same content with the same trouble is the same."""
    parts = (source.state, source.digest, source.reason, *map(str, source.problems))
    return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]
