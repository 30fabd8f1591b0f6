"""Cards: one small file beside the bytes of an image for each engine that has it, so that a later
agent knows what is here and what its engines hold of it. Their age tells when it was last prepared.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from manifests.codec import CodecError, dump, load
from manifests.durable import sync_directory
from manifests.kinds.image import MachineType
from manifests.scalars import Sha256
from manifests.wire import ImageRef

TYPES = "|".join(MachineType)
NAME = re.compile(rf"([0-9a-f]{{64}})\.({TYPES})")
NEW = ".new"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What an engine has of an image. `engine`: bytes that it keeps itself; `ready`: once prepared."""

    type: MachineType
    image: ImageRef
    engine: int = 0
    ready: bool = False


class Cards:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self) -> list[Card]:
        """In the order in which they were written."""
        found = []
        for path in self._directory.iterdir():
            if NAME.fullmatch(path.name) and (card := _read(path)) is not None:
                found.append((_written(path), path.name, card))
        return [card for _, _, card in sorted(found, key=lambda it: it[:2])]

    def of(self, sha256: str) -> Iterator[Card]:
        for type_ in MachineType:
            if (card := self.get(type_, sha256)) is not None:
                yield card

    def get(self, type_: MachineType, sha256: str) -> Card | None:
        return _read(self._path(type_, sha256))

    def write(self, card: Card) -> None:
        """Durable on return. Raises OSError."""
        path = self._path(card.type, card.image.sha256)
        fresh = path.with_name(path.name + NEW)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(dump(card), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        sync_directory(self._directory)

    def remove(self, type_: MachineType, sha256: str) -> None:
        self._path(type_, sha256).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what cannot be read, and what was not written to its end."""
        for path in self._directory.iterdir():
            half = path.suffix == NEW and NAME.fullmatch(path.stem)
            if half or (NAME.fullmatch(path.name) and _read(path) is None):
                path.unlink(missing_ok=True)

    def _path(self, type_: MachineType, sha256: str) -> Path:
        return self._directory / f"{Sha256(sha256)}.{type_}"


def _read(path: Path) -> Card | None:
    try:
        return load(Card, json.loads(path.read_text()))
    except (OSError, ValueError, CodecError):
        return None


def _written(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return 0
