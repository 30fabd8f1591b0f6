"""What a look at a directory found: the bytes of all its manifests, or why they are not known."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from manifests.problem import Problem
from manifests.text import MIB

PLAIN, GIT = "plain", "git"


MOST_BYTES = 64 * MIB
"""Of all manifests of a directory: so much can be applied at once by the API, too."""


class Unreadable(Exception):
    """What is in the directory is not known; a sentence about it."""


class Paused(Exception):
    """What is in the directory is not meant yet; a sentence about it."""


class Stopped(Exception):
    """The program ends."""


def check_size(size: int) -> None:
    """Raises Unreadable for more bytes than are read of one directory."""
    if size > MOST_BYTES:
        raise Unreadable(f"its manifests have more than {MOST_BYTES // MIB} MiB together")


@dataclass(frozen=True)
class Found:
    """`files` are (name below the directory, bytes) by name. `problems` are files that could not be
    read, `notes` sentences about what is left out. `empty`: why there are no files, where that is known."""

    kind: str
    files: tuple[tuple[str, bytes], ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    commit: str = ""
    empty: str = ""

    @cached_property
    def digest(self) -> str:
        """Of names and bytes; another one wherever anything else would be applied or complained of."""
        whole = hashlib.sha256()
        for name, data in self.files:
            part = hashlib.sha256(data).hexdigest()
            whole.update(f"{name!r} {part}\n".encode("utf-8", "backslashreplace"))
        for problem in self.problems:
            whole.update(f"{problem}\n".encode("utf-8", "backslashreplace"))
        return whole.hexdigest()
