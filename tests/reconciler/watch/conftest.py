from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.reconciler.watch.trees import Watched
from tests.reconciler.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture
def watch(world: World) -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(path: Path, name: str = "dir:shop") -> Watched:
        made.append(Watched(world, path, name))
        return made[-1]

    yield make
    for item in made:
        item.directory.close()
