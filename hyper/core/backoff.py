"""When a machine that ended, or a step that failed, is tried again.

The first restart comes at once; then 1 s, 2 s, 4 s ... up to a minute, each shortened by up to half
so that many machines do not return together. A machine that ran for a minute starts afresh.
"""

import zlib
from dataclasses import dataclass, replace

LONGEST = 60.0
STABLE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the agent remembers of one machine while it lives; times are its monotonic clock's.

    `failures` in a row; nothing is tried before `retry_at`, `pause` seconds after the last failure;
    `error` is the last failed step's.
    """

    failures: int = 0
    pause: float = 0
    retry_at: float = 0
    restarts: int = 0
    running_since: float | None = None
    error: str = ""


FRESH = History()


def delay(uid: str, failures: int) -> float:
    """Seconds to wait after this many failures in a row before the present one."""
    if failures == 0:
        return 0.0
    full: float = min(LONGEST, 2.0 ** min(failures - 1, 10))
    jitter = zlib.crc32(f"{uid}/{failures}".encode()) % 1000 / 1000
    return full * (1 - jitter / 2)


def seen(history: History, *, running: bool, halted: bool, uid: str, now: float) -> History:
    """The history after looking at the machine; `halted`: we stopped it ourselves."""
    if running:
        since = now if history.running_since is None else history.running_since
        failures = 0 if now - since >= STABLE else history.failures
        return replace(history, running_since=since, failures=failures, error="")
    if history.running_since is None:
        return history
    ran = now - history.running_since
    if halted:
        return replace(history, running_since=None, failures=0, retry_at=now, pause=0)
    failures = 0 if ran >= STABLE else history.failures
    return _again(replace(history, running_since=None, error=""), failures, uid, now)


def failed(history: History, *, error: str, uid: str, now: float) -> History:
    """The history after a step failed; a step, unlike a restart, is never repeated at once."""
    return _again(replace(history, error=error), max(history.failures, 1), uid, now)


def _again(history: History, failures: int, uid: str, now: float) -> History:
    pause = delay(uid, failures)
    return replace(history, failures=failures + 1, pause=pause, retry_at=now + pause)


def started(history: History, *, restart: bool, now: float) -> History:
    """The history after it was started: it ran, even if nobody ever sees it running."""
    return replace(history, running_since=now, restarts=history.restarts + restart, error="")


def forgiven(history: History) -> History:
    """The history when something else is wanted of the machine than what failed."""
    return replace(history, failures=0, pause=0, retry_at=0, error="")
