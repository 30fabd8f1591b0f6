"""Disks of VMs: an overlay on a base image, made by qemu-img within bounds.

Here: files. The format is always declared, never probed, and a base that points to other files is
refused before any tool opens it. Not here: libvirt, what makes a header safe, and where the base
comes from.
"""

import os
import pwd
import subprocess
from contextlib import suppress
from pathlib import Path

from hyper.drivers import DriverError, Refused
from manifests.imageformat import FormatError, check
from manifests.kinds.image import ImageFormat

TIMEOUT = 60
LIMITS = ("prlimit", "--as=1073741824", "--cpu=30", "--")
QEMU_USERS = ("libvirt-qemu", "qemu")


def check_base(path: Path, format_: ImageFormat) -> None:
    """Refused unless a VM can start from the format, and the bytes at `path` are safe as that."""
    if format_ not in (ImageFormat.QCOW2, ImageFormat.RAW):
        raise Refused(f"a VM cannot start from a {format_} image")
    try:
        with path.open("rb") as file:
            check(format_, file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise DriverError(f"cannot read the image: {error.strerror}") from None
    except FormatError as error:
        raise Refused(f"the image {error}") from None


def make_readable(path: Path) -> None:
    """Let qemu's user read the base image, through its group; nobody gets to write it."""
    group = _qemu_group()
    try:
        status = path.stat()
        if group is None:
            if status.st_mode & 0o777 != 0o644:
                path.chmod(0o644)
        elif (status.st_gid, status.st_mode & 0o777) != (group, 0o640):
            os.chown(path, -1, group)
            path.chmod(0o640)
        closed = [folder for folder in path.resolve().parents if not folder.stat().st_mode & 0o001]
    except OSError as error:
        raise DriverError(f"cannot open the image to qemu: {error.strerror}") from None
    if closed:
        raise DriverError(f"qemu cannot enter {closed[0]}: chmod o+x it")


def _qemu_group() -> int | None:
    for user in QEMU_USERS:
        with suppress(KeyError):
            return pwd.getpwnam(user).pw_gid
    return None


def create_overlay(disk: Path, base: Path, format_: str) -> None:
    """The file `disk`, whole or not at all; one that is there already is kept as it is."""
    if disk.exists():
        return
    fresh = partial(disk)
    fresh.unlink(missing_ok=True)
    command = ("qemu-img", "create", "-q", "-f", "qcow2", "-F", format_, "-b", str(base))
    try:
        subprocess.run(
            [*LIMITS, *command, str(fresh)],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT,
            umask=0o077,
        )
        fresh.rename(disk)
    except FileNotFoundError as error:
        raise DriverError(f"{error.filename} is missing on the node: install qemu-utils") from None
    except subprocess.TimeoutExpired:
        raise DriverError(f"qemu-img took more than {TIMEOUT} s to create the disk") from None
    except subprocess.CalledProcessError as error:
        text = error.stderr.decode(errors="replace").strip().replace(str(base), "the image")
        raise DriverError(f"qemu-img could not create the disk: {text[:300]}") from None
    except OSError as error:
        raise DriverError(f"cannot create the disk: {error.strerror}") from None
    finally:
        fresh.unlink(missing_ok=True)


def remove_disk(disk: Path) -> None:
    try:
        for path in (partial(disk), disk):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise DriverError(f"cannot remove the disk: {error.strerror}") from None


def partial(disk: Path) -> Path:
    return disk.with_name(f"{disk.name}.new")
