"""What the agent must not forget: its last assignment, and which machines it stopped itself.

One JSON file, written to a temporary name, synced and renamed before anything is acknowledged or
acted on. Not here: what the engines know themselves.
"""

import contextlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from manifests.codec import CodecError, dump, load
from manifests.durable import sync_directory
from manifests.wire import Assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The content of the ledger. `halted` has the uids of machines stopped by the agent itself."""

    assignment: Assignment | None = None
    halted: tuple[str, ...] = field(default=())


class LedgerError(Exception):
    """The ledger cannot be read or written; the message says which file and why."""


class Ledger(Protocol):
    entry: Entry

    def save(self, entry: Entry) -> None:
        """Make `entry` durable; raises LedgerError and keeps the old one."""


class MemoryLedger:
    """A ledger for simulations: as durable as the object itself."""

    def __init__(self) -> None:
        self.entry = Entry()

    def save(self, entry: Entry) -> None:
        self.entry = entry


class FileLedger:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.entry = self._read()

    def _read(self) -> Entry:
        try:
            return load(Entry, json.loads(self._path.read_text()))
        except FileNotFoundError:
            return Entry()
        except (OSError, ValueError, CodecError) as error:
            raise LedgerError(
                f"cannot read {self._path}: {error}; restore it, or remove it when no machine of"
                " this node is to be kept"
            ) from None

    def save(self, entry: Entry) -> None:
        temporary = self._path.with_suffix(".tmp")
        try:
            self._write(temporary, json.dumps(dump(entry), separators=(",", ":")))
            os.replace(temporary, self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise LedgerError(f"cannot write {self._path}: {error.strerror}") from None
        self.entry = entry

    @staticmethod
    def _write(path: Path, text: str) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def with_halted(entry: Entry, uid: str, halted: bool) -> Entry:
    others = tuple(item for item in entry.halted if item != uid)
    return replace(entry, halted=(*others, uid) if halted else others)
