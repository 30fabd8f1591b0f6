"""Rings when something in watched directories may have changed. The only importer of watchdog.

Events are not told apart: one is a reason to look, no more. Reading is no change. What cannot be
watched (no such directory yet, the limits of inotify) is said, and tried again with the next look.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from watchdog.events import (
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

CHANGES: list[type[FileSystemEvent]] = [
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
CONTENT = (FileClosedEvent, FileModifiedEvent)
PATIENCE = 1.0

Directory = tuple[str, bool]
"""(path, with all below it)."""


Matters = Callable[[str, bool], bool]
"""(path, only what is in that file has changed) -> whether that is a reason to look."""


@dataclass(frozen=True, slots=True)
class Range:
    """Directories to watch, the most important first, and which changes in them matter."""

    directories: Sequence[Directory]
    matters: Matters


class Bell:
    def __init__(self, ring: Callable[[], None]) -> None:
        """`ring` is called in a thread of ours, and must be quick."""
        self._handler = _Handler(ring)
        self._observer: BaseObserver | None = None
        self._hung: dict[Directory, tuple[ObservedWatch, tuple[int, int]]] = {}

    def hang(self, range_: Range) -> str:
        """Watch exactly these directories from now on; "", or why not all can be watched.

        A directory that was replaced by another of its name is watched anew.
        """
        self._handler.matters = range_.matters
        try:
            observer = self._started()
            wanted = {item: _identity(item[0]) for item in range_.directories}
            self._take_down(observer, wanted)
            for item, identity in wanted.items():
                if item not in self._hung and identity is not None:
                    self._watch(observer, item, identity)
        except OSError as error:
            return f"no word of changes from the system: {error.strerror or error}"
        return ""

    def _started(self) -> BaseObserver:
        if self._observer is not None and not self._observer.is_alive():
            self.take_down()
        if self._observer is None:
            # It finds a directory that has just been made twice, says so, and does no harm.
            warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
            observer = Observer()
            observer.daemon = True
            observer.start()
            self._observer = observer
        return self._observer

    def _take_down(
        self, observer: BaseObserver, wanted: dict[Directory, tuple[int, int] | None]
    ) -> None:
        """What is not wanted, what was replaced, and what has ended with its directory."""
        alive = {emitter.watch for emitter in observer.emitters if emitter.is_alive()}
        for item, (watch, identity) in list(self._hung.items()):
            if watch not in alive or wanted.get(item) != identity:
                del self._hung[item]
                observer.unschedule(watch)

    def _watch(self, observer: BaseObserver, item: Directory, identity: tuple[int, int]) -> None:
        path, recursive = item
        try:
            watch = observer.schedule(
                self._handler, path, recursive=recursive, event_filter=CHANGES
            )
        except FileNotFoundError:
            return  # gone already: whatever is watched around it tells
        self._hung[item] = watch, identity

    def take_down(self) -> None:
        """Stop watching; within a second."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(PATIENCE)
            self._observer = None
        self._hung.clear()


class _Handler(FileSystemEventHandler):
    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self.matters: Matters = lambda path, content: True

    def dispatch(self, event: FileSystemEvent) -> None:
        content = isinstance(event, CONTENT)
        if any(self.matters(os.fsdecode(path), content) for path in _paths(event) if path):
            self._ring()


def _paths(event: FileSystemEvent) -> Iterable[bytes | str]:
    return event.src_path, event.dest_path


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
