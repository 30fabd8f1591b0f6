"""The only way YAML gets in: parse events -> plain data, refusing what is ambiguous or hostile.

One pass over the events of `yaml.parse`, before and instead of any loader: no tags, anchors, merge
keys or bent scalars, bounded depth and size. Not here: characters (`text`), what a plain scalar
means (`plain`), and whether the data is a manifest (`validate`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from manifests.codec import Json, kind_of
from manifests.plain import FIRST, Bent, plain
from manifests.problem import SECRET, Path, Problem, dotted, shown
from manifests.text import ESCAPED_ONLY, MIB, TextError, text_of

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Event = Any


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and problems of one text, depth and nodes of one document, documents of one set."""

    size: int = 16 * MIB
    depth: int = 32
    nodes: int = 20_000
    documents: int = 200_000
    problems: int = 100


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Parsed:
    """One document: its data, the text it was read from, and the paths already complained of."""

    data: Json
    text: str
    start: int
    end: int
    line: int
    flawed: frozenset[Path]


class _Stop(Exception):
    """The rest is not worth reading; why has been said."""


def read(
    source: str | bytes, file: str, limits: Limits = LIMITS
) -> tuple[list[Parsed], list[Problem]]:
    """All documents of a text and all that is wrong with it. Never raises."""
    try:
        text = text_of(source, limits.size)
    except TextError as error:
        return [], [Problem(file, error.line, error.column, "", error.message, error.hint)]
    reader = _Reader(text, file, limits)
    reader.run()
    return reader.documents, reader.problems


class _Reader:
    """The state between two events. Written for speed: an ordinary document has 30 of them."""

    def __init__(self, text: str, file: str, limits: Limits) -> None:
        self.text, self.file, self.limits = text, file, limits
        self.documents: list[Parsed] = []
        self.problems: list[Problem] = []
        self.start = self.line = self.ended = 0
        self.flawed: set[Path] = set()
        self.outer: list[tuple[Any, str | None, list[Any]]] = []
        self._begin(None)

    def run(self) -> None:
        handlers, scalar = self._handlers(), self._scalar
        loader = LOADER(self.text)
        next_event = loader.get_event
        try:
            while (event := next_event()) is not None:
                kind = type(event)
                if kind is ScalarEvent:
                    scalar(event)
                else:
                    handlers[kind](event)
        except _Stop:
            pass
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # The pure Python scanner lets some through, such as chr() of an impossible "\UFFFFFFFF".
            self.problems.append(Problem(self.file, self.line + 1, 1, "", f"not YAML: {error}"))
        finally:
            loader.dispose()

    def _handlers(self) -> dict[type, Callable[[Event], None]]:
        return {
            MappingStartEvent: self._open,
            SequenceStartEvent: self._open,
            MappingEndEvent: self._close,
            SequenceEndEvent: self._close,
            DocumentStartEvent: self._begin,
            DocumentEndEvent: self._end,
            AliasEvent: self._alias,
            StreamStartEvent: lambda event: None,
            StreamEndEvent: lambda event: None,
        }

    def _begin(self, _: Event) -> None:
        self.root: Json = None
        self.into: Any = None
        self.key: str | None = None
        self.marks: list[Any] = []
        self.room = self.limits.nodes

    def _end(self, event: Event) -> None:
        mark = event.end_mark
        if self.root is not None or self.flawed:
            flawed = frozenset(self.flawed)
            self.flawed.clear()
            self.documents.append(
                Parsed(self.root, self.text, self.start, mark.index, self.line, flawed)
            )
        self.ended += 1
        if self.ended > self.limits.documents:
            self._stop(event, f"more than {self.limits.documents} documents")
        self.start, self.line = mark.index, mark.line

    def _scalar(self, event: Event) -> None:
        value = event.value
        if event.style:
            if ESCAPED_ONLY.search(value):
                self._refuse(event, "has a control character or half a surrogate pair")
        elif value[:1] in FIRST:
            value = self._plain(event)
        if event.anchor or event.tag:
            self._properties(event)
        self._put(event, value)

    def _put(self, event: Event, value: Json) -> None:
        self.room -= 1
        if self.room < 0:
            self._stop(event, f"more than {self.limits.nodes} values in one document")
        key, into = self.key, self.into
        if key is not None:
            into[key] = value
            self.key = None
        elif type(into) is dict:
            self._new_key(event, value)
        elif into is None:
            self._root(event, value)
        else:
            into.append(value)

    def _root(self, event: Event, value: Json) -> None:
        self.root = value
        if value is not None and type(value) is not dict and not self.flawed:
            what = kind_of(value)
            self._refuse(event, f"a document must be an object with fields, not {what}")

    def _new_key(self, event: Event, key: Json) -> None:
        if type(key) is not str:
            self._refuse(event, f"key {shown(event.value)} is not text", "quote it")
            key = event.value
        if key in self.into:
            first = self.marks[list(self.into).index(key)].line + 1
            line = event.start_mark.line + 1
            self._refuse(event, f"duplicate key on lines {first} and {line}", "remove one")
        else:
            self.marks.append(event.start_mark)
        self.key = key

    def _open(self, event: Event) -> None:
        if event.anchor or event.tag:
            self._properties(event)
        key, into = self.key, self.into
        if key is None and type(into) is dict:
            self._stop(event, "a key must be text, not a list or an object")
        if len(self.outer) >= self.limits.depth:
            self._stop(event, f"nested deeper than {self.limits.depth} levels")
        items: Json = {} if type(event) is MappingStartEvent else []
        self._put(event, items)
        self.outer.append((into, key, self.marks))
        self.into, self.key, self.marks = items, None, []

    def _close(self, _: Event) -> None:
        self.into, _key, self.marks = self.outer.pop()

    def _alias(self, event: Event) -> None:
        self._refuse(event, f"alias *{event.anchor} is not supported", "write the value out")
        self._put(event, f"*{event.anchor}")

    def _plain(self, event: Event) -> Json:
        """The value of a plain scalar; its text where it is refused, so that reading goes on."""
        text: str = event.value
        is_key = type(self.into) is dict and self.key is None
        if text == "<<" and is_key:
            self._refuse(event, "merge keys are not supported", "write the fields out")
            return text
        try:
            value = plain(text)
        except Bent as bent:
            if SECRET & set(self._path(event)):
                self._refuse(event, "is no text in YAML as it is written", "quote it")
            else:
                self._refuse(event, bent.message, bent.hint)
            return text
        if value is None and not is_key and (text or self.into is not None):
            self._refuse(event, "has no value", "write one, or remove the field")
            return text
        return value

    def _properties(self, event: Event) -> None:
        if event.tag:
            self._refuse(event, f"tag {shown(event.tag)} is not supported", "remove it")
        if event.anchor:
            self._refuse(event, f"anchor &{event.anchor} is not supported", "remove it")

    def _path(self, event: Event) -> Path:
        """The path of the value, or of the field whose key, the event is."""
        steps: list[str | int] = []
        for into, key, _ in self.outer:
            if type(into) is list:
                steps.append(len(into) - 1)
            elif key is not None:
                steps.append(key)
        if type(self.into) is list:
            steps.append(len(self.into))
        elif self.into is not None:
            steps.append(self.key if self.key is not None else getattr(event, "value", ""))
        return tuple(steps)

    def _refuse(self, event: Event, message: str, hint: str = "") -> None:
        path, mark = self._path(event), event.start_mark
        self.flawed.add(path)
        self.problems.append(
            Problem(self.file, mark.line + 1, mark.column + 1, dotted(path), message, hint)
        )
        if len(self.problems) >= self.limits.problems:
            self._stop(event, "too many problems; the rest was not read")

    def _stop(self, event: Event, message: str) -> None:
        mark = event.start_mark
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, "", message))
        raise _Stop

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (self.line + 1, 1)
        what = str(error.problem or error.context or "")
        hint = next((hint for part, hint in SYNTAX_HINTS.items() if part in what), "")
        if (
            "cannot start any token" in what
            and mark
            and self.text[mark.index : mark.index + 1] == "\t"
        ):
            what, hint = "a tab cannot indent YAML", "use spaces"
        self.problems.append(Problem(self.file, line, column, "", f"not YAML: {what}", hint))


SYNTAX_HINTS = {
    "cannot start any token": "quote the value",
    "mapping values are not allowed": "quote a value that holds ': ', or check the indentation",
    "could not find expected ':'": "check the indentation, and the ':' after the key",
    "did not find expected key": "check the indentation",
    "expected <block end>": "check the indentation",
    "escape code": "write the character itself",
    "unknown escape character": "write \\\\ for a backslash, or use single quotes",
}
