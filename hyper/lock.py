"""One agent per state directory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyRunning(Exception):
    """Another agent uses the state directory."""


class NotPrivate(PermissionError):
    """Others could change the state directory. The message says what to do."""


@contextmanager
def hold(state: Path) -> Iterator[None]:
    """The state directory, made if needed, for this process alone.

    Raises AlreadyRunning, or NotPrivate where others own it or can write in it.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o711)
    _refuse_others(state)
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AlreadyRunning(
            f"another hyper uses {state}; stop it, or give this one its own --state"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)


def _refuse_others(state: Path) -> None:
    """Whoever can write here chooses what we run, and replaces the disks it runs from."""
    status = state.stat()
    if status.st_uid != os.geteuid():
        raise NotPrivate(
            f"{state} belongs to another user; choose another --state, "
            "or chown it if you trust what it holds"
        )
    if status.st_mode & 0o022:
        raise NotPrivate(f"{state} can be written by others; run: chmod go-w {state}")
