"""What is wrong with a manifest, said to people: where, what, and what to do.

Here: the two forms of a complaint, by path in a document (Fault) and by place in a file (Problem),
and how paths and values are shown in them. Not here: what is wrong and how that is found out.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

Path = tuple[str | int, ...]
SHOWN = 60
SECRET = frozenset({"env", "command"})
"""Fields whose values may be secrets: nobody quotes them."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong at a place in a file. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    field: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {field}{self.message}{hint}"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong at a path of a document, for those who know no file.

    `key`: the field's name is wrong, not its value. `first`: the index, in a set of documents, of
    the earlier document that this one collides with.
    """

    path: Path
    message: str
    hint: str = ""
    key: bool = False
    first: int | None = None

    def to_json(self, index: int) -> dict[str, Any]:
        """The fault of the document at `index`, as the API sends it."""
        data: dict[str, Any] = {
            "index": index,
            "path": list(self.path),
            "message": self.message,
            "hint": self.hint,
        }
        if self.key:
            data["key"] = True
        if self.first is not None:
            data["first"] = self.first
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> tuple[int, Self]:
        """(index, fault) of what `to_json` wrote."""
        fault = cls(
            path=tuple(data["path"]),
            message=data["message"],
            hint=data.get("hint", ""),
            key=data.get("key", False),
            first=data.get("first"),
        )
        return data["index"], fault


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """A sentence with the candidate that was probably meant, or nothing."""
    by_bare = {_bare(candidate): candidate for candidate in candidates}
    # The length bound keeps a hostile word of a megabyte from being compared letter by letter.
    near = difflib.get_close_matches(_bare(word), by_bare, n=1) if len(word) <= SHOWN else []
    return f"did you mean '{by_bare[near[0]]}'?" if near else ""


def _bare(word: str) -> str:
    """The word as compared: a wrong case, `_` or `-` is the likeliest mistake of all."""
    return word.replace("_", "").replace("-", "").casefold()


def shown(value: Any) -> str:
    """A short, printable form of a scalar, safe for a terminal and a log line."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def printable(text: str) -> str:
    """The text with whatever could upset a terminal or an encoder written as an escape."""
    return text if text.isprintable() else ascii(text)[1:-1]


def dotted(path: Path) -> str:
    """The path as people write it: `spec.ports[0]`, `metadata.labels["a b"]`."""
    return "".join(_step(step) for step in path).removeprefix(".")


def _step(step: str | int) -> str:
    if isinstance(step, str) and re.fullmatch("[A-Za-z0-9_-]{1,64}", step):
        return f".{step}"
    return f"[{shown(step)}]"
