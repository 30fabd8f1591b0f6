"""A plain directory -> its manifests: all files below it that end as manifests do.

As `iaasctl apply -f DIR` reads one, and stricter: nothing that a symbolic link leads to outside of
it. Whatever cannot be read is a problem, never an absence: a file that seems to be missing would
take its machines with it.
"""

import os
import stat
from collections.abc import Callable, Iterator

from manifests.files import MAX_FILES, SUFFIXES, FileError, display, read_file
from manifests.guard import LIMITS
from manifests.problem import Problem
from reconciler.watch.found import PLAIN, Found, Stopped, Unreadable, check_size


def read(path: str, stopping: Callable[[], bool]) -> Found:
    """What is there now. Raises Unreadable, Stopped."""
    root = os.path.realpath(path)
    _check(path, root)
    files: list[tuple[str, bytes]] = []
    problems: list[Problem] = []
    notes: list[str] = []
    size = 0
    for item in _below(root, notes):
        if stopping():
            raise Stopped
        if len(files) + len(problems) >= MAX_FILES:
            raise Unreadable(f"it holds more than {MAX_FILES} manifest files")
        if isinstance(item, Problem):
            problems.append(item)
            continue
        name = os.path.relpath(item, root)
        try:
            data = read_file(_inside(root, item), LIMITS.size)
            files.append((display(name), data))
            check_size(size := size + len(data))
        except FileError as error:
            problems.append(Problem(display(name), 1, 1, "", error.message, error.hint))
    _check(path, root)  # If it went meanwhile, so did our files.
    return Found(PLAIN, tuple(sorted(files)), tuple(sorted(problems)), tuple(sorted(notes)))


def _check(path: str, root: str) -> None:
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise Unreadable("it is not a directory")
    except FileNotFoundError:
        raise Unreadable("there is no such directory") from None
    except OSError as error:
        raise Unreadable(f"it cannot be read: {error.strerror}") from None
    if os.path.realpath(path) != root:
        raise Unreadable("it was replaced while it was read")


def _below(root: str, notes: list[str]) -> Iterator[str | Problem]:
    errors: list[OSError] = []
    for parent, directories, names in os.walk(root, onerror=errors.append):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in directories:
            if os.path.islink(link := os.path.join(parent, name)):
                shown = display(os.path.relpath(link, root))
                notes.append(f"{shown} is a symbolic link to a directory and was not followed")
        for name in sorted(names):
            if name.endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.join(parent, name)
    for error in errors:
        name = os.path.relpath(error.filename, root)
        if name == ".":
            raise Unreadable(f"it cannot be read: {error.strerror}")
        yield Problem(display(name), 1, 1, "", f"cannot be read: {error.strerror}")


def _inside(root: str, path: str) -> str:
    """Where the file really is; raises FileError if that is not below `root`."""
    if not os.path.islink(path):
        return path
    real = os.path.realpath(path)
    if os.path.commonpath([root, real]) != root:
        raise FileError(
            path,
            "is a symbolic link that leads out of the directory, and is not followed",
            "put the file itself there",
        )
    if not os.path.exists(real):
        raise FileError(path, "is a symbolic link to nothing", "remove it")
    return real
