"""When to look at a directory again: pure, the time comes in as an argument.

Something may have changed: look when it has been quiet for QUIET, at the latest after LONGEST. What
was refused and may go through later is tried again, later and later, and soon after the cluster has
changed. Without any of it, there is a look every RESCAN.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

QUIET = 0.3
LONGEST = 2.0
RESCAN = 60.0
FIRST_PAUSE = 5.0
LAST_PAUSE = 300.0
CHANGED = 1.0
"""From a change of the cluster to the next try."""


class Again(Enum):
    """What to do though the directory stays as it is. NO: nothing. SOON: look once more, to be sure.
    LATER: try again, for something outside may have changed. WHEN_CHANGED: that, and whenever the
    cluster has changed."""

    NO = auto()
    SOON = auto()
    LATER = auto()
    WHEN_CHANGED = auto()


@dataclass(frozen=True, slots=True)
class Pace:
    """Times in seconds on one clock. `first` and `last` are of the news since the last look began.

    `retry`: when to try again; `failures`: how often that was in vain, in a row.
    """

    rescan: float
    first: float | None = None
    last: float | None = None
    retry: float | None = None
    failures: int = 0
    again: Again = Again.NO

    @property
    def due(self) -> float:
        """When to look."""
        times = [self.rescan]
        if self.first is not None and self.last is not None:
            times.append(min(self.last + QUIET, self.first + LONGEST))
        if self.retry is not None:
            times.append(self.retry)
        return min(times)

    def heard(self, first: float, last: float) -> "Pace":
        """Something may have changed, first and last at these times."""
        return replace(self, first=first if self.first is None else self.first, last=last)

    def cluster_changed(self, now: float) -> "Pace":
        """What waits for the cluster is tried again, but a busy cluster does not keep us busy."""
        if self.again is not Again.WHEN_CHANGED:
            return self
        soon = now + CHANGED
        return replace(self, retry=soon if self.retry is None else min(self.retry, soon))

    def asked(self, now: float) -> "Pace":
        """Somebody waits for it."""
        return replace(self, retry=now)

    def tries(self, now: float) -> bool:
        """Whether a look now tries again what was refused, though it be the same."""
        return self.retry is not None and now >= self.retry

    def begun(self, now: float) -> "Pace":
        """A look begins: what is heard from now on is news."""
        retry = None if self.tries(now) else self.retry
        return replace(self, first=None, last=None, retry=retry, rescan=now + RESCAN)

    def looked(self, now: float, again: Again | None, *, new: bool) -> "Pace":
        """A look is done; `again` is None where nothing was tried, for all was as before. `new`: it
        found another content than the one before."""
        if again is None:
            return self
        if again is Again.NO:
            return replace(self, retry=None, failures=0, again=again)
        if again is Again.SOON:
            return replace(self, retry=now + QUIET, again=again)
        failures = 1 if new else self.failures + 1
        pause = min(LAST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10))
        return replace(self, retry=now + pause, failures=failures, again=again)


def at_once(now: float) -> Pace:
    """Of a directory that was never looked at."""
    return Pace(rescan=now)
