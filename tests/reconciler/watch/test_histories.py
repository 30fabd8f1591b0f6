"""Random histories of a directory: what is in force is what its last good content says, always."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reconciler.watch.trees import Watched, commit, git, node, nodes, repository
from tests.reconciler.world import World

Watch = Callable[..., Watched]
Content = dict[int, bool]
"""Number of a node -> whether its file is good."""
STEPS = 30


class History:
    def __init__(self, shop: Path, rng: random.Random, with_git: bool) -> None:
        self.shop, self.rng, self.with_git = shop, rng, with_git
        self.now: Content = {}
        self.committed: list[tuple[str, Content]] = []
        self.head: Content = {}
        shop.mkdir()
        if with_git:
            repository(shop)

    @property
    def meant(self) -> Content:
        return self.head if self.with_git else self.now

    def step(self) -> str:
        choices = [self.write, self.write, self.spoil, self.remove, self.mend, self.empty]
        choices += [self.commit] * 4 + [self.check_out, self.collect] if self.with_git else []
        chosen = self.rng.choice(choices)
        chosen()
        return chosen.__name__

    def write(self) -> None:
        number = self.rng.randrange(9)
        nodes(self.shop, number)
        self.now[number] = True

    def spoil(self) -> None:
        number = self.rng.randrange(9)
        text = self.rng.choice(["", "kind: [", node(number).replace("address", "adress"), "\0"])
        (self.shop / f"n{number}.yaml").write_text(text)
        self.now[number] = False

    def remove(self) -> None:
        if self.now:
            number = self.rng.choice(sorted(self.now))
            (self.shop / f"n{number}.yaml").unlink()
            del self.now[number]

    def mend(self) -> None:
        for number, good in self.now.items():
            if not good:
                nodes(self.shop, number)
                self.now[number] = True

    def empty(self) -> None:
        if self.rng.random() < 0.3:
            while self.now:
                self.remove()

    def commit(self) -> None:
        self.head = dict(self.now)
        self.committed.append((commit(self.shop), self.head))

    def check_out(self) -> None:
        if self.committed:
            name, self.head = self.rng.choice(self.committed)
            git(self.shop, "checkout", "-q", "-f", name)
            git(self.shop, "clean", "-q", "-f", "-d")
            self.now = dict(self.head)

    def collect(self) -> None:
        git(self.shop, "gc", "-q")


@pytest.mark.parametrize("kind", ["plain", "git"])
@pytest.mark.parametrize("seed", range(10))
def test_a_history(world: World, watch: Watch, tmp_path: Path, kind: str, seed: int) -> None:
    rng = random.Random(f"{kind} {seed}")
    history = History(tmp_path / "shop", rng, kind == "git")
    watched, before, seen = watch(history.shop), set[str](), []
    for _ in range(STEPS):
        seen.append(history.step())
        if rng.random() < 0.2:
            watched.directory.close()
            watched = watch(history.shop)  # the program was restarted
        watched.look(tries=rng.random() < 0.3)
        meant = history.meant
        good = bool(meant) and all(meant.values())
        state = "applied" if good else "broken" if meant else "empty"
        expected = {f"n{number}" for number in meant} if good else before
        assert (watched.state, watched.objects) == (state, expected), seen
        for item in world.store.snapshot().objects.values():
            if item.deleting:
                world.forget(item.name, kind="Node")
        before = watched.objects
    assert watched.told.count("Conflict") == 0
