"""Refused requests on their way into the audit: gathered, and written a batch at a time.

Alike ones become one entry, and beyond a bound they are only counted: whoever is refused ten
thousand times a second makes us write no more than a few batches, and waits for none of them.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from manifests.problem import printable
from reconciler.core.access import Actor
from reconciler.core.audit import NAMED, Entry, name_of
from reconciler.store import Store, StoreError

log = logging.getLogger("reconciler.api")
MOST = 100
"""Entries of one batch."""
PAUSE = 0.2
"""Seconds from the first refusal of a batch to its writing."""
LONGEST = 300
"""Characters of a message."""
READING = ("GET", "HEAD", "OPTIONS", "TRACE")
UNTOLD = (400, 415, 422)
"""Their messages quote what was sent; it may have been a secret in the wrong place."""
QUOTED = re.compile(r"""['"].*""", re.DOTALL)


class Refusals:
    """Without `start`, only `flush` writes. `clock` gives epoch seconds."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._gathered: dict[Entry, Entry] = {}
        self._uncounted = 0
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def add(self, entry: Entry) -> None:
        """Takes no time, and never fails. `entry.at` is filled in."""
        with self._changed:
            if known := self._gathered.get(entry):
                self._gathered[entry] = replace(known, times=known.times + 1)
            elif len(self._gathered) < MOST:
                self._gathered[entry] = replace(entry, at=round(self._clock(), 3))
            else:
                self._uncounted += 1
            self._changed.notify()

    def flush(self) -> None:
        """Write what was gathered; on return, all that was added before is there."""
        with self._writing:
            with self._changed:
                entries, self._gathered = [*self._gathered.values()], {}
                more, self._uncounted = self._uncounted, 0
            if more:
                entries.append(self._summary(more))
            try:
                self._store.record(entries)
            except StoreError:
                count = sum(entry.times for entry in entries)
                log.exception("%d refused requests are missing in the audit", count)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write the rest."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._stopping:
            with self._changed:
                self._changed.wait_for(lambda: self._gathered or self._stopping)
                self._changed.wait_for(lambda: self._stopping, PAUSE)
            self.flush()

    def _summary(self, count: int) -> Entry:
        return Entry(
            at=round(self._clock(), 3),
            who="several",
            peer="",
            method="",
            path="",
            action="refuse",
            status=429,
            error="too_many",
            message="too many refused requests at once to write each down",
            times=count,
        )


def refusal(by: Actor, body: Any) -> Entry | None:
    """What the audit says about a request answered with this status and body; None where nothing."""
    if by.status not in ((401, 403) if by.method in READING else range(400, 600)):
        return None
    error = body if isinstance(body, dict) else {}
    message = str(error.get("message", ""))
    return Entry(
        at=0,
        who=by.who,
        peer=by.peer,
        method=by.method,
        path=by.path,
        action="refuse" if by.status < 500 else "fail",
        status=by.status,
        objects=tuple(_named(error.get("conflicts", ()))),
        error=str(error.get("error", "")),
        message=printable(QUOTED.sub("'...'", message) if by.status in UNTOLD else message)[
            :LONGEST
        ],
    )


def _named(conflicts: Sequence[Any]) -> Iterator[str]:
    for conflict in conflicts[:NAMED]:
        if "kind" in conflict and "name" in conflict:
            yield name_of(conflict["kind"], conflict["name"])
