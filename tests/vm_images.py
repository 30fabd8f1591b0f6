"""A VM image for tests, built once per machine, and a directory that qemu may enter."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from manifests.kinds.image import ImageFormat
from manifests.scalars import Sha256
from manifests.wire import ImageRef

BUILD = Path(__file__).parents[1] / "examples" / "images" / "build-vm"
MEMORY = 128
"""MiB that the image boots in."""


def built() -> Path:
    """The image of `build-vm`, kept between runs; a process that comes second waits for the first."""
    script = hashlib.sha256(BUILD.read_bytes()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iaas-tests"
    folder.mkdir(parents=True, exist_ok=True)
    image = folder / f"vm-{script}.qcow2"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.exists():
            subprocess.run([BUILD, image], check=True, capture_output=True, timeout=240)
    return image


def reference(path: Path, format_: ImageFormat = ImageFormat.QCOW2) -> ImageRef:
    data = path.read_bytes()
    return ImageRef(sha256=Sha256(hashlib.sha256(data).hexdigest()), format=format_, size=len(data))


@contextmanager
def open_directory() -> Iterator[Path]:
    """pytest's own directories are closed to qemu, which runs as another user."""
    folder = Path(tempfile.mkdtemp(prefix="iaas-test-", dir="/var/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
