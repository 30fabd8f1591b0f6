"""The tokens of the roles, each in a file of its own, read again whenever the file is another.

A file that is missing, damaged or open to others gives its role to nobody, until it is mended.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from manifests.tokens import TokenError, read_token, token_from
from reconciler.api.roles import PEOPLE, Role

log = logging.getLogger("reconciler.api")
NAMES = {Role.ADMIN: "token", Role.OPERATOR: "operator.token", Role.VIEWER: "viewer.token"}
SETTLED = 1.0
"""Seconds after which a changed file has another time stamp than it had when it was read."""

State = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    state: State
    settled: bool
    token: str
    trouble: str = ""


class TokenFile:
    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Makes the file where there is none. Raises TokenError."""
        token_from(path)
        self.path = path
        self._clock = clock
        self._known = self._read()

    def __call__(self) -> str:
        """The token in force now, or "" while there is none."""
        known = self._known
        if not known.settled or known.state != _state(self.path):
            self._known = fresh = self._read()
            if fresh.trouble and fresh.trouble != known.trouble:
                log.error("nobody gets in with this token: %s", fresh.trouble)
            known = fresh
        return known.token

    def _read(self) -> _Read:
        state, now = _state(self.path), self._clock()
        try:
            token, trouble = read_token(self.path), ""
        except FileNotFoundError:
            token, trouble = "", f"there is no {self.path} any more; it is made at the next start"
        except TokenError as error:
            token, trouble = "", str(error)
        # A change within the same tick of the file system's clock would not be seen, and what went
        # wrong may have been for want of descriptors: look again.
        settled = bool(token and state) and now - state[-1] / 1e9 > SETTLED
        return _Read(state, settled, token, trouble)


def _state(path: Path) -> State:
    """What is different for a file of other content, owner or mode; empty without a file."""
    try:
        found = os.lstat(path)
    except OSError:
        return ()
    return (
        found.st_ino,
        found.st_size,
        found.st_mode,
        found.st_uid,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )


def token_files(directory: Path) -> dict[Role, TokenFile]:
    """One for each role of people, made at the first start. Raises TokenError."""
    files = {role: TokenFile(directory / NAMES[role]) for role in PEOPLE}
    seen: dict[str, Path] = {}
    for file in files.values():
        if (other := seen.setdefault(file(), file.path)) is not file.path:
            raise TokenError(
                f"{file.path} and {other} hold the same token; remove one and a new one is made"
            )
    return files
