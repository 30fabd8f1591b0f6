"""What a watched directory is called, and which directories cannot be watched together."""

import os
import re
from collections.abc import Sequence
from itertools import combinations

from reconciler.core.sources import DIRECTORY

NAME = re.compile("[A-Za-z0-9._-]{1,64}")


class Unwatchable(Exception):
    """A sentence about what is wrong with the directories given."""


def named(directories: Sequence[str]) -> dict[str, str]:
    """Source name -> absolute path, in the order given. The directories need not exist. Raises
    Unwatchable."""
    if "" in directories:
        raise Unwatchable("--watch needs a directory, and was given nothing")
    paths = [os.path.abspath(directory) for directory in directories]
    for one, other in combinations(paths, 2):
        if problem := _together(one, other):
            raise Unwatchable(problem)
    return {_name(path): path for path in paths}


def _name(path: str) -> str:
    base = os.path.basename(path)
    if not NAME.fullmatch(base):
        raise Unwatchable(
            f"--watch {path}: a directory is known by its last name, which may have letters, digits,"
            " '.', '_' and '-' only; rename it, or watch a symbolic link to it"
        )
    return DIRECTORY + base


def _together(one: str, other: str) -> str:
    real = [os.path.realpath(path) for path in (one, other)]
    if real[0] == real[1]:
        return f"--watch {one} and --watch {other} are the same directory; name it once"
    if os.path.commonpath(real) in real:
        return f"--watch {one} and --watch {other}: one is inside the other; watch one of them"
    if os.path.basename(one) == os.path.basename(other):
        return (
            f"--watch {one} and --watch {other} would both be called"
            f" {DIRECTORY}{os.path.basename(one)}; rename one, or watch a symbolic link to it"
        )
    return ""
