"""Which directories of the host tell that a watched directory may have changed.

Of a plain one: all below it. Of one in a git work tree: what tells of another commit. Of both: the
directories above, where its name may get another directory, or its work tree another repository.
"""

import os
from collections.abc import Container
from pathlib import Path

from manifests.files import SUFFIXES
from reconciler.watch import git
from reconciler.watch.bell import Directory, Range
from reconciler.watch.git import Place


def range_of(path: str, place: Place | None, files: Container[str] = ()) -> Range:
    """`place` is where `path` is in a git work tree, if it is in one. `files`: which are read besides
    the manifests; a log that is written in a watched directory all day is none of them."""
    real = os.path.realpath(path)
    ways = _ways(path, real, place)
    above = [(directory, False) for directory in dict.fromkeys(map(_nearest, ways))]
    own: list[Directory] = [(real, True)] if place is None else list(git.signs(place))

    def matters(changed: str, content: bool) -> bool:
        if any(way == changed or way.startswith(f"{changed}/") for way in ways):
            return True
        if place is not None:
            return git.is_sign(place, changed)
        if content and not changed.endswith(SUFFIXES) and changed not in files:
            return False
        return _below(real, changed)

    # The most watches come first: if there are too few, the last one fails, and that is noticed.
    return Range(tuple(dict.fromkeys([*own, *above])), matters)


def _ways(path: str, real: str, place: Place | None) -> tuple[str, ...]:
    """Names that would lead elsewhere if they were given to something else, links on the way too."""
    names = [path, *(str(parent) for parent in Path(path).parents if parent.is_symlink())]
    names += [os.path.join(place.top, ".git")] if place else []
    return tuple(dict.fromkeys([real, *map(_really, names)]))


def _really(name: str) -> str:
    """Where the name itself is, whatever it leads to: that is how events call it."""
    folder, base = os.path.split(name)
    return os.path.join(os.path.realpath(folder), base)


def _nearest(path: str) -> str:
    """The nearest directory above that exists."""
    return next(str(parent) for parent in Path(path).parents if parent.is_dir())


def _below(real: str, changed: str) -> bool:
    """In the directory, and not in the depths of a repository that has just been made there."""
    if not changed.startswith(f"{real}/"):
        return False
    return ".git" not in Path(changed).parent.parts[len(Path(real).parts) :]
