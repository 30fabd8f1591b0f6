"""One agent per state directory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyRunning(Exception):
    """Another agent uses the state directory."""


@contextmanager
def hold(state: Path) -> Iterator[None]:
    """The state directory, made if needed, for this process alone; raises AlreadyRunning."""
    state.mkdir(parents=True, exist_ok=True, mode=0o711)
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
