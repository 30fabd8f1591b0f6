"""Bytes of a manifest -> text that a YAML scanner can be trusted with, or one clear refusal.

Here: size, encoding and characters. Not here: anything that knows YAML's grammar.
"""

import re

MIB = 1024 * 1024
FORBIDDEN = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""Control characters, what is no character at all, and line ends that editors do not count."""
ESCAPED_ONLY = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Of these, what may not even be written as an escape."""

ASCII_ALLOWED = bytes([9, 10, 13, *range(32, 127)])
JSON_TEXT = re.compile(r'(?:[\s\[\]{},:\w+.-]++|"(?:[^"\\]++|\\.)*+")*+')
PAIRS = re.compile(
    r"((?:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})+)|\\.", re.DOTALL
)


class TextError(ValueError):
    """The text cannot be read at all, from (`line`, `column`) on."""

    def __init__(self, message: str, hint: str = "", line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint
        self.line, self.column = line, column


def text_of(source: str | bytes, limit: int) -> str:
    """The source as text that holds only characters a manifest may hold; raises TextError."""
    if len(source) > limit:
        raise TextError(
            f"is larger than {limit // MIB} MiB"
            if limit >= MIB
            else f"is larger than {limit} bytes",
            "split it into several files",
        )
    text = source if isinstance(source, str) else _decoded(source)
    text = text.removeprefix("\ufeff")
    _refuse_characters(text)
    if tag := re.search("^%TAG", text, re.MULTILINE):
        # Besides being useless without tags, libyaml takes quadratic time for many of them.
        raise TextError("tags are not supported", "remove %TAG", *place(text, tag.start()))
    return _joined_pairs(text)


def _decoded(source: bytes) -> str:
    if source.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in source[:4]:
        raise TextError("is not UTF-8 but UTF-16 or UTF-32, or binary", "save it as UTF-8")
    try:
        return source.decode("utf-8")
    except UnicodeDecodeError as error:
        before = source[: error.start].decode("utf-8")
        raise TextError(
            f"byte 0x{source[error.start]:02x} is not UTF-8 (perhaps Latin-1)",
            "save it as UTF-8",
            *place(before, len(before)),
        ) from None


def _refuse_characters(text: str) -> None:
    if text.isascii() and not text.encode("ascii").translate(None, ASCII_ALLOWED):
        return
    if found := FORBIDDEN.search(text):
        raise TextError(
            f"character U+{ord(found[0]):04X} is not allowed",
            "remove it",
            *place(text, found.start()),
        )


def place(text: str, offset: int) -> tuple[int, int]:
    """(line, column) of an offset, both from 1."""
    ends = sum(text.count(end, 0, offset) for end in "\r\n") - text.count("\r\n", 0, offset)
    begin = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    return ends + 1, offset - begin + 1


def _joined_pairs(text: str) -> str:
    r"""JSON writes U+1F600 as `\ud83d\ude00`, which YAML cannot: the character itself, instead."""
    is_json = text.lstrip()[:1] in ("{", "[") and re.search(r"\\u[dD]", text)
    if not is_json or not JSON_TEXT.fullmatch(text):
        return text
    return PAIRS.sub(_characters, text)


def _characters(found: re.Match[str]) -> str:
    pairs = found[1]
    return bytes.fromhex(pairs.replace(r"\u", "")).decode("utf-16-be") if pairs else found[0]
