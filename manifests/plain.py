"""What a plain (unquoted) YAML scalar means, and which ones are refused because tools disagree.

YAML 1.1 reads `no`, `22:22`, `010` and `1e3` as something else than what is written. Here: the only
plain scalars that are not text (true, false, and numbers that read back as written), and the rest
that must be quoted. Not here: where the scalar stood.
"""

import re

from manifests.problem import shown

Plain = str | int | float | None

FIRST = frozenset(["", *"0123456789+-.~=<yYnNtTfFoO"])
"""First characters of all plain scalars that may be other than text; the rest needs no look."""

VALUES: dict[str, Plain] = {"true": True, "false": False, "": None, "~": None, "null": None}
BOOLEANS = {
    "yes": True, "no": False, "on": True, "off": False, "y": True, "n": False,
    "true": True, "false": False,
}  # fmt: skip
INTEGER = re.compile("0|-?[1-9][0-9]{0,17}")
FRACTION = re.compile(r"-?(?:0|[1-9][0-9]{0,15})\.[0-9]{1,17}")

NUMBER_LIKE = re.compile("[-+]?[.0-9]")
# No two neighbours here match the same characters: a megabyte of digits must not take quadratic time.
# After the shapes of YAML 1.1, as PyYAML resolves them, and of YAML 1.2 (0o17, 1e3).
BENT = tuple(
    (re.compile(pattern), what)
    for pattern, what in (
        (r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?", "is a number in base 60"),
        (r"[-+]?0b[01_]+", "is a binary number"),
        (r"[-+]?0x[0-9a-fA-F_]+", "is a hexadecimal number"),
        (r"[-+]?0o?[0-7_]+", "is an octal number"),
        (r"-?[0-9]{19,}", "has more digits than a number can keep"),
        (r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "is not a finite number"),
        (
            r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9_]+)[eE][-+]?[0-9]+",
            "is a number with an exponent",
        ),
        (
            r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)",
            "is a number written in an unusual way",
        ),
        (
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?"
            r"(?:[Tt]|[ \t]+)[0-9][0-9]?:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?"
            r"(?:[ \t]*(?:Z|[-+][0-9][0-9]?(?::[0-9]{2})?))?",
            "is a date",
        ),
    )
)


class Bent(ValueError):
    """The scalar does not mean what it looks like; `message` says so, `hint` what to write."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}; {hint}")
        self.message = message
        self.hint = hint


def plain(text: str) -> Plain:
    """The value of a plain scalar; None for null. Raises Bent."""
    if text in VALUES:
        return VALUES[text]
    if NUMBER_LIKE.match(text):
        return _number(text)
    word = text.casefold() if len(text) <= 5 else ""
    if word in BOOLEANS:
        meant = "true" if BOOLEANS[word] else "false"
        raise Bent(f"{text!r} means {meant} in YAML", f'quote it: "{text}", or write {meant}')
    if word == "null":
        raise Bent(f"{text!r} means null in YAML", f'quote it: "{text}"')
    if text in ("=", "<<"):
        raise Bent(f"{text!r} has a special meaning in YAML", f'quote it: "{text}"')
    return text


def _number(text: str) -> Plain:
    if INTEGER.fullmatch(text):
        return int(text)
    if FRACTION.fullmatch(text):
        return _fraction(text)
    for pattern, what in BENT:
        if pattern.fullmatch(text):
            raise Bent(f"{shown(text)[1:-1]} {what} in YAML", "quote it")
    return text


def _fraction(text: str) -> float:
    value = float(text)
    if repr(value) != text:
        raise Bent(f"{text} is a number that reads back as {value}", f'quote it: "{text}"')
    return value
