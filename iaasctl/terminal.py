"""The way to the terminal: escaping what others wrote, colour, errors. Nothing knows kinds here.

Data goes to stdout, messages go to stderr. Whatever came from a server or a file passes `safe`
before it is printed: it must not move the cursor, colour, or write to the clipboard.
"""

import os
import re
import sys
from typing import TextIO

import click

from iaasctl.errors import Failure, Invalid

# C0 and C1 controls, DEL, line and paragraph separators, bidirectional controls, surrogates, BOM.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
COLOURS = {"red": 31, "green": 32, "yellow": 33, "magenta": 35, "dim": 2, "bold": 1}


class ClosedPipe(Exception):
    """Nobody reads what we print any more."""


def safe(value: object) -> str:
    """Text of a value in which nothing but visible characters is left."""
    return UNSAFE.sub(_escaped, "" if value is None else str(value))


def safe_json(text: str) -> str:
    """JSON text with what could control a terminal as \\u escapes; still the same data."""
    return re.sub(f"(?!\n){UNSAFE.pattern}", lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def is_live(stream: TextIO | None) -> bool:
    """Whether lines on this stream can be redrawn."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """`text` in colour where `stream` (stdout) is a terminal that wants it."""
    if not colour or os.environ.get("NO_COLOR") or not is_live(stream or sys.stdout):
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def out(text: str) -> None:
    """A result, on stdout."""
    try:
        click.echo(text)
    except BrokenPipeError:
        raise ClosedPipe from None  # click would end the program, with another code


def note(text: str) -> None:
    """A message for people, on stderr."""
    click.echo(text, err=True)


def report(failure: Failure) -> None:
    """The failure as `error:`, `why:`, `fix:` on stderr."""
    lines = (
        [safe(line) for line in failure.report.splitlines()] if isinstance(failure, Invalid) else []
    )
    label = paint("error:", "red", sys.stderr)
    lines.append(f"{label} {safe(failure.what)}")
    for word, text in (("why", failure.why), ("fix", failure.fix)):
        for index, line in enumerate(text.splitlines()):
            lines.append(f"  {word}:  {safe(line)}" if index == 0 else f"        {safe(line)}")
    note("\n".join(lines))


def prepare_streams() -> None:
    """A character that the terminal's encoding lacks is shown escaped instead of being an error."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def can_show(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
