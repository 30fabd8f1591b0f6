"""Which directories of the host tell that a watched directory may have changed.

Of a plain one: all below it. Of one in a git work tree: what tells of another commit. Of both: the
directories above, where its name may get another directory, or its work tree another repository.
"""

import os
from pathlib import Path

from reconciler.watch import git
from reconciler.watch.bell import Directory, Range
from reconciler.watch.git import Place


def range_of(path: str, place: Place | None) -> Range:
    """`place` is where `path` is in a git work tree, if it is in one."""
    real = os.path.realpath(path)
    ways = _ways(path, real, place)
    above = [(directory, False) for directory in dict.fromkeys(map(_nearest, ways))]
    own: list[Directory] = [(real, True)] if place is None else list(git.signs(place))

    def matters(changed: str) -> bool:
        if any(way == changed or way.startswith(f"{changed}/") for way in ways):
            return True
        if place is not None:
            return git.is_sign(place, changed)
        return _below(real, changed)

    # The most watches come first: if there are too few, the last one fails, and that is noticed.
    return Range(tuple(dict.fromkeys([*own, *above])), matters)


def _ways(path: str, real: str, place: Place | None) -> tuple[str, ...]:
    """Names that would lead elsewhere if they were given to something else."""
    marks = [os.path.join(place.top, ".git")] if place else []
    return tuple(dict.fromkeys([path, real, *marks]))


def _nearest(path: str) -> str:
    """The nearest directory above that exists."""
    return next(str(parent) for parent in Path(path).parents if parent.is_dir())


def _below(real: str, changed: str) -> bool:
    """In the directory, and not in the depths of a repository that has just been made there."""
    if not changed.startswith(f"{real}/"):
        return False
    return ".git" not in Path(changed).parent.parts[len(Path(real).parts) :]
