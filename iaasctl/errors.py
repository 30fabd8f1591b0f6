"""What can go wrong, as people need to hear it: what, why, what to do. One exit code each.

Failure 1 · Invalid 2 · TimedOut 3 · NotFound 4 · Conflict 5 · Unauthorised 6 · Unreachable 7
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manifests.problem import Fault


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    INVALID = 2
    TIMED_OUT = 3
    NOT_FOUND = 4
    CONFLICT = 5
    UNAUTHORISED = 6
    UNREACHABLE = 7
    INTERRUPTED = 130
    CLOSED_PIPE = 141


class Failure(Exception):
    """The command cannot do what was asked. All three texts may hold what a server said."""

    exit_code: Exit = Exit.FAILED

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix


class Invalid(Failure):
    """What the user gave is not right: manifests, arguments. `report` is printed before the error."""

    exit_code = Exit.INVALID

    def __init__(self, what: str, why: str = "", fix: str = "", report: str = "") -> None:
        super().__init__(what, why, fix)
        self.report = report


class Rejected(Invalid):
    """The server found faults in documents, told by their index in what was sent."""

    def __init__(
        self, what: str, why: str = "", fix: str = "", faults: "tuple[tuple[int, Fault], ...]" = ()
    ) -> None:
        super().__init__(what, why, fix)
        self.faults = faults


class TimedOut(Failure):
    exit_code = Exit.TIMED_OUT


class NotFound(Failure):
    exit_code = Exit.NOT_FOUND


class Conflict(Failure):
    exit_code = Exit.CONFLICT


class Unauthorised(Failure):
    exit_code = Exit.UNAUTHORISED


class Unreachable(Failure):
    """No answer. After the request went out it may have been carried out: `maybe_done`.

    `dropped`: the connection broke, rather than that the server took too long.
    """

    exit_code = Exit.UNREACHABLE

    def __init__(
        self,
        what: str,
        why: str = "",
        fix: str = "",
        *,
        maybe_done: bool = False,
        dropped: bool = False,
    ) -> None:
        super().__init__(what, why, fix)
        self.maybe_done = maybe_done
        self.dropped = dropped


class Interrupted(Failure):
    """Ctrl-C, with what was done by then."""

    exit_code = Exit.INTERRUPTED


@contextmanager
def on_interrupt(why: str, fix: str = "") -> Iterator[None]:
    """Turns Ctrl-C into an Interrupted that says how far it came."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted", why, fix) from None
