"""Where each field of a document stands in its text. Read again only when something is wrong:
keeping positions of every value would cost more than reading the documents.

Not here: refusing anything; the text has been through `guard`.
"""

from dataclasses import dataclass, field
from typing import Any

import yaml

from manifests import guard
from manifests.problem import Path

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Positions:
    """(line, column), from 1, of the values and of the keys, by path."""

    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)

    def find(self, path: Path, *, key: bool = False) -> Place:
        """The place of a value, or of its key; of the nearest parent's key where it is missing."""
        if not key and path in self.values:
            return self.values[path]
        while path and path not in self.keys and path not in self.values:
            path = path[:-1]
        return self.keys.get(path) or self.values.get(path) or (1, 1)


def positions_of(text: str, line: int = 0) -> Positions:
    """The positions in the first document of the text, which begins after `line` lines."""
    found = Positions()
    loader = guard.LOADER(text)
    try:
        _walk(loader, found, line + 1)
    except (yaml.YAMLError, ValueError, OverflowError):
        pass  # What was refused as syntax has its problem; what came before it is known.
    finally:
        loader.dispose()
    return found


def _walk(loader: Any, found: Positions, line: int) -> None:
    path: list[str | int | None] = []
    while True:
        event = loader.get_event()
        mark: Any = event.start_mark
        if isinstance(event, yaml.DocumentEndEvent | yaml.StreamEndEvent):
            return
        if isinstance(event, yaml.CollectionEndEvent):
            path.pop()
            _next(path)
        elif isinstance(event, yaml.NodeEvent):
            place = (mark.line + line, mark.column + 1)
            _node(event, path, found, place)


def _node(event: yaml.NodeEvent, path: list[str | int | None], found: Positions, at: Place) -> None:
    if path and path[-1] is None:
        path[-1] = getattr(event, "value", f"*{event.anchor}")
        found.keys.setdefault(_known(path), at)
        return
    found.values.setdefault(_known(path), at)
    if isinstance(event, yaml.MappingStartEvent):
        path.append(None)
    elif isinstance(event, yaml.SequenceStartEvent):
        path.append(0)
    else:
        _next(path)


def _next(path: list[str | int | None]) -> None:
    """Go on from a value to the next item, or to the next key, which is not known yet."""
    if path:
        path[-1] = path[-1] + 1 if isinstance(path[-1], int) else None


def _known(path: list[str | int | None]) -> Path:
    return tuple(step for step in path if step is not None)
