"""Bearer tokens in files that only their owner can read, made at first use.

Shared by the programs, since whoever starts first makes the file. Not here: who may do what.
"""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from manifests.durable import sync_directory


class TokenError(Exception):
    """The token file cannot be used; the message says why and what to do."""


def token_from(path: Path) -> str:
    """The token in `path`, made if there is no such file; refuses files others own or can read."""
    for _ in range(2):
        with contextlib.suppress(FileNotFoundError):
            return read_token(path)
        with contextlib.suppress(FileExistsError):
            _make(path)
    raise TokenError(f"cannot read {path}")


def read_token(path: Path) -> str:
    """The token in `path`. Raises TokenError, FileNotFoundError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status, content = os.fstat(descriptor), os.read(descriptor, 4096)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TokenError(f"cannot read {path}: {error.strerror}") from None
    if status.st_uid not in (0, os.geteuid()):
        raise TokenError(
            f"{path} belongs to another user, who knows the token; remove it and a new one is made"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise TokenError(f"{path} can be read by others; run: chmod 600 {path}")
    token = content.decode("ascii", "replace").strip()
    if len(token) < 16 or not token.isascii() or not token.isprintable():
        raise TokenError(f"{path} holds no token; remove it and a new one is made")
    return token


def _make(path: Path) -> None:
    """Write the whole token under another name first: nobody ever reads half of it, or one that a
    power cut takes away again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        temporary.unlink()
    for directory in (path.parent, path.parent.parent):
        sync_directory(directory)
