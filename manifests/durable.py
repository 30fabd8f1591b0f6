"""What a power cut must not take back: the names in a directory. Shared by the programs."""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Durable on return: the files that were made, renamed or removed in it. Raises OSError."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
