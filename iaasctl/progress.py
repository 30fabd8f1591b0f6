"""Progress on stderr: redrawn lines on a terminal, else one line for each change of state.

Plain ANSI, since importing a library for it would take longer than starting a container's create
call. Texts in a Status are safe already.
"""

import os
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TextIO

from iaasctl.settle import Status
from iaasctl.terminal import is_live, note, paint, safe
from iaasctl.views import size

BYTES_WORTH_SHOWING = 32 << 20
SLOW_SECONDS = 1.0
"""Fewer bytes are worth showing when they take longer."""
REDRAW_SECONDS = 0.1
BAR_WIDTH = 24
UP_AND_CLEAR = "\x1b[{}A\x1b[J"


class Moved(NamedTuple):
    """Bytes under way: at `start` of them since a monotonic time."""

    what: str
    start: int
    since: float


def bar(moved: Moved, done: int, total: int, now: float) -> str:
    """`[####----]  50 % of 2 GiB, 80 MiB/s  uploading x`: what may be cut off comes last."""
    filled = BAR_WIDTH * done // max(total, 1)
    signs = "#" * filled + "-" * (BAR_WIDTH - filled)
    seconds = now - moved.since
    rate = f", {size((done - moved.start) / seconds)}/s" if seconds > 0.5 else ""
    return f"[{signs}] {100 * done // max(total, 1):3} % of {size(total)}{rate}  {safe(moved.what)}"


class Progress(Protocol):
    def show(self, statuses: Sequence[Status]) -> None: ...

    def transfer(self, what: str, done: int, total: int) -> None: ...

    def close(self) -> None: ...


def progress() -> Progress:
    """The progress that suits where stderr goes."""
    return Live(sys.stderr) if is_live(sys.stderr) else Lines()


class Lines:
    """One line for each change, for logs."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self._announced = ""

    def show(self, statuses: Sequence[Status]) -> None:
        for status in statuses:
            text = _text(status)
            if self._shown.get(status.label) != text:
                self._shown[status.label] = text
                note(f"{status.label} {text}")

    def transfer(self, what: str, done: int, total: int) -> None:
        if total >= BYTES_WORTH_SHOWING and self._announced != what:
            self._announced = what
            note(f"{safe(what)}, {size(total)}")

    def close(self) -> None:
        pass


class Live:
    """Lines that are redrawn; what is not settled is shown first when not all fit."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._height = 0
        self._drawn = 0.0
        self._moved = Moved("", 0, 0.0)
        self._started = time.monotonic()

    def show(self, statuses: Sequence[Status]) -> None:
        columns, lines = _terminal_size(self._stream)
        fits = max(1, lines - 3)
        ordered = (
            sorted(statuses, key=lambda status: status.settled)
            if len(statuses) > fits
            else statuses
        )
        width = max((len(status.label) for status in statuses), default=0)
        drawn = [self._line(status, width, columns) for status in ordered[:fits]]
        if hidden := len(statuses) - len(drawn):
            drawn.append(f"... and {hidden} more")
        ready = sum(status.done for status in statuses)
        drawn.append(f"{ready} of {len(statuses)} ready, {time.monotonic() - self._started:.1f} s")
        self._redraw(drawn)

    def transfer(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._moved.what:
            self._moved = Moved(what, done, now)
        worth = total >= BYTES_WORTH_SHOWING or now - self._moved.since >= SLOW_SECONDS
        if worth and (done >= total or now - self._drawn >= REDRAW_SECONDS):
            self._drawn = now
            columns, _ = _terminal_size(self._stream)
            self._redraw([bar(self._moved, done, total, now)[: max(10, columns - 1)]])

    def close(self) -> None:
        """What is drawn stays; the next text begins below it."""
        self._height = 0

    def _line(self, status: Status, width: int, columns: int) -> str:
        text = f"{status.label.ljust(width)}  {_text(status)}"[: max(10, columns - 3)]
        sign, colour = "-", "dim"
        if status.settled:
            sign, colour = ("x", "red") if status.failed else ("+", "green")
        return f"{paint(sign, colour, self._stream)} {text}"

    def _redraw(self, lines: Sequence[str]) -> None:
        move = UP_AND_CLEAR.format(self._height) if self._height else ""
        self._height = len(lines)
        self._stream.write(move + "".join(f"{line}\n" for line in lines))
        self._stream.flush()


def _text(status: Status) -> str:
    where = f" on {status.node}" if status.node and not status.target.gone else ""
    detail = f": {status.detail}" if status.detail and not status.done else ""
    return f"{status.state}{where}{detail}"


def _terminal_size(stream: TextIO) -> tuple[int, int]:
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 80, 24
    return columns or 80, lines or 24
