"""Real directories, real events of the system: what rings, and what must not."""

import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.watch import git as reading
from reconciler.watch.bell import Bell
from reconciler.watch.range import range_of
from tests.reconciler.watch.trees import commit, git, nodes, repository

SOON = 5.0
LIMIT = "no word of changes from the system: inotify watch limit reached"
SILENT = 0.4
"""Seconds in which an event would have come: they take milliseconds."""


class Listener:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.rung = threading.Event()
        self.bell = Bell(self.rung.set)

    def hang(self) -> str:
        range_ = range_of(str(self.path), reading.find(str(self.path)))
        said = self.bell.hang(range_)
        self.rung.wait(0.05)
        self.rung.clear()
        return said

    def rings(self) -> bool:
        return self.rung.wait(SOON)

    def silent(self) -> bool:
        return not self.rung.wait(SILENT)


@pytest.fixture
def listen() -> Iterator[Callable[[Path], Listener]]:
    made: list[Listener] = []

    def make(path: Path) -> Listener:
        made.append(Listener(path))
        made[-1].hang()
        return made[-1]

    yield make
    for listener in made:
        listener.bell.take_down()


Listen = Callable[[Path], Listener]


def write(shop: Path) -> None:
    nodes(shop, 9)


def write_beside_and_rename(shop: Path) -> None:
    (shop / ".n1.swp").write_text("other")
    (shop / ".n1.swp").rename(shop / "n1.yaml")


def move_in_from_outside(shop: Path) -> None:
    nodes(shop.parent, 9)
    (shop.parent / "n9.yaml").rename(shop / "n9.yaml")


def move_a_directory_in(shop: Path) -> None:
    nodes(shop.parent / "more", 9)
    (shop.parent / "more").rename(shop / "more")


def remove(shop: Path) -> None:
    (shop / "n1.yaml").unlink()


def remove_all(shop: Path) -> None:
    shutil.rmtree(shop)


def move_away(shop: Path) -> None:
    shop.rename(shop.parent / "old")


def forbid(shop: Path) -> None:
    (shop / "n1.yaml").chmod(0)


def swap_a_hidden_link(shop: Path) -> None:
    (shop / "..new").symlink_to("..2026")
    (shop / "..new").rename(shop / "..data")


def become_a_repository(shop: Path) -> None:
    repository(shop)


@pytest.mark.parametrize(
    "change",
    [
        write,
        write_beside_and_rename,
        move_in_from_outside,
        move_a_directory_in,
        remove,
        remove_all,
        move_away,
        forbid,
        swap_a_hidden_link,
        become_a_repository,
    ],
)
def test_a_change_rings(tmp_path: Path, listen: Listen, change: Callable[[Path], None]) -> None:
    nodes(tmp_path / "shop", 1)
    listener = listen(tmp_path / "shop")
    change(tmp_path / "shop")
    assert listener.rings()


def test_reading_and_the_neighbours_are_silent(tmp_path: Path, listen: Listen) -> None:
    shop = tmp_path / "shop"
    nodes(shop, 1)
    nodes(shop / ".git" / "objects", 2)
    listener = listen(shop)
    for _ in range(20):
        (shop / "n1.yaml").read_bytes()
        list(shop.iterdir())
    nodes(shop / ".git" / "objects", 3)
    nodes(tmp_path / "shop2", 4)
    (tmp_path / "shop.yaml").write_text("")
    assert listener.silent()


def test_of_other_files_only_their_coming_and_going_rings(tmp_path: Path, listen: Listen) -> None:
    nodes(tmp_path / "shop", 1)
    (tmp_path / "shop" / "app.log").write_text("")
    listener = listen(tmp_path / "shop")
    with (tmp_path / "shop" / "app.log").open("a") as log:
        for _ in range(20):
            print("a line", file=log, flush=True)
    assert listener.silent()
    (tmp_path / "shop" / "app.log").unlink()
    assert listener.rings()


def test_what_came_into_a_directory_that_came_later(tmp_path: Path, listen: Listen) -> None:
    shop = tmp_path / "shop"
    nodes(shop, 1)
    listener = listen(shop)
    (shop / "a" / "b").mkdir(parents=True)
    assert listener.rings()
    listener.hang()
    nodes(shop / "a" / "b", 2)
    assert listener.rings()


@pytest.mark.parametrize("away", [remove_all, move_away])
def test_a_directory_that_is_replaced_is_watched_again(
    tmp_path: Path, listen: Listen, away: Callable[[Path], None]
) -> None:
    shop = tmp_path / "shop"
    nodes(shop, 1)
    listener = listen(shop)
    for number in range(3):
        away(shop)
        assert listener.rings()
        listener.hang()
        shop.mkdir()
        assert listener.rings(), f"it came back, time {number}"
        listener.hang()
        nodes(shop, 2)
        assert listener.rings(), f"a change in the new one, time {number}"
        listener.hang()
        shutil.rmtree(tmp_path / "old", ignore_errors=True)


def test_another_directory_renamed_into_its_place(tmp_path: Path, listen: Listen) -> None:
    shop = tmp_path / "shop"
    nodes(shop, 1)
    nodes(tmp_path / "new", 2)
    listener = listen(shop)
    shop.rename(tmp_path / "old")
    (tmp_path / "new").rename(shop)
    assert listener.rings()
    listener.hang()
    nodes(tmp_path / "old", 3)
    assert listener.silent(), "the old one is nobody's business any more"
    nodes(shop, 3)
    assert listener.rings()


@pytest.mark.parametrize("inside", ["", "deep", "deep/er"])
@pytest.mark.parametrize("base", ["", "link"])
def test_a_link_that_is_turned_to_another_directory(
    tmp_path: Path, listen: Listen, inside: str, base: str
) -> None:
    (tmp_path / "link").symlink_to(".")
    nodes(tmp_path / "v1" / inside, 1)
    nodes(tmp_path / "v2" / inside, 2)
    (tmp_path / "shop").symlink_to("v1")
    listener = listen(tmp_path / base / "shop" / inside)
    (tmp_path / "new").symlink_to("v2")
    (tmp_path / "new").rename(tmp_path / "shop")
    assert listener.rings()
    listener.hang()
    nodes(tmp_path / "v1" / inside, 3)
    assert listener.silent(), "the old one is nobody's business any more"
    nodes(tmp_path / "v2" / inside, 3)
    assert listener.rings()
    listener.hang()
    shutil.rmtree(tmp_path / "v2")
    assert listener.rings()


def test_a_directory_that_is_not_there_yet(tmp_path: Path, listen: Listen) -> None:
    shop = tmp_path / "a" / "b" / "shop"
    listener = listen(shop)
    for part in (tmp_path / "a", tmp_path / "a" / "b", shop):
        part.mkdir()
        assert listener.rings(), part
        listener.hang()
    nodes(shop, 1)
    assert listener.rings()


def test_of_a_work_tree_only_commits_ring(tmp_path: Path, listen: Listen) -> None:
    shop = repository(tmp_path / "shop")
    nodes(shop, 1)
    commit(shop)
    listener = listen(shop)
    nodes(shop, 2)
    git(shop, "add", "-A")
    git(shop, "status")
    assert listener.silent()
    commit(shop)
    assert listener.rings()
    for words in (
        ("checkout", "-q", "-b", "side"),
        ("commit", "-q", "--amend", "--allow-empty", "-m", "other"),
        ("reset", "-q", "--hard", "main"),
        ("pack-refs", "--all"),
        ("checkout", "-q", "HEAD~1"),
    ):
        listener.hang()
        git(shop, *words)
        assert listener.rings(), words


def test_of_a_linked_work_tree_its_own_commits_ring(tmp_path: Path, listen: Listen) -> None:
    shop = repository(tmp_path / "shop")
    nodes(shop, 1)
    commit(shop)
    git(shop, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    listener = listen(tmp_path / "linked")
    commit(tmp_path / "linked")
    assert listener.rings()
    listener.hang()
    git(tmp_path / "linked", "checkout", "-q", "--detach")
    assert listener.rings()


def test_a_work_tree_whose_repository_goes_and_comes(tmp_path: Path, listen: Listen) -> None:
    shop = repository(tmp_path / "shop")
    nodes(shop / "deep", 1)
    commit(shop)
    listener = listen(shop / "deep")
    (shop / ".git").rename(tmp_path / "away")
    assert listener.rings()
    listener.hang()
    (tmp_path / "away").rename(shop / ".git")
    listener.hang()  # what the look of every minute does: nothing above a plain one is listened to
    commit(shop)
    assert listener.rings()


def test_a_git_directory_behind_a_link(tmp_path: Path, listen: Listen) -> None:
    shop = repository(tmp_path / "shop")
    (shop / ".git").rename(tmp_path / "elsewhere")
    (shop / ".git").symlink_to("../elsewhere")
    nodes(shop, 1)
    commit(shop)
    listener = listen(shop)
    git(shop, "checkout", "-q", "--detach")  # which changes HEAD alone
    assert listener.rings()


def test_the_end_of_a_rebase_rings(tmp_path: Path, listen: Listen) -> None:
    shop = repository(tmp_path / "shop")
    nodes(shop, 1)
    commit(shop)
    (shop / ".git" / "rebase-merge").mkdir()
    listener = listen(shop)
    (shop / ".git" / "rebase-merge").rmdir()
    assert listener.rings()


def test_without_inotify_it_says_so_and_tries_again(tmp_path: Path) -> None:
    nodes(tmp_path / "shop", 1)
    listener = Listener(tmp_path / "shop")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        said = listener.hang()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert said == "no word of changes from the system: inotify instance limit reached"
    assert listener.hang() == ""
    nodes(tmp_path / "shop", 2)
    assert listener.rings()
    begun = time.monotonic()
    listener.bell.take_down()
    assert time.monotonic() - begun < 1.0


FEW_WATCHES = """
import sys
from pathlib import Path
from reconciler.watch.bell import Bell
from reconciler.watch.range import range_of
Path("/proc/sys/user/max_inotify_watches").write_text(sys.argv[2])
bell = Bell(lambda: print("rings", flush=True))
print(bell.hang(range_of(sys.argv[1], None)), flush=True)
Path(sys.argv[1], "n9.yaml").write_text("")
import time
time.sleep(0.3)
bell.take_down()
"""


@pytest.mark.parametrize(("most", "said"), [("100", ""), ("8", LIMIT), ("0", LIMIT)])
def test_too_few_watches_are_said_and_those_there_are_ring(
    tmp_path: Path, most: str, said: str
) -> None:
    for number in range(10):
        nodes(tmp_path / "shop" / f"d{number}", number)
    inside = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here, which the limit could be set for")
    done = subprocess.run(
        [*inside, sys.executable, "-c", FEW_WATCHES, tmp_path / "shop", most],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=True,
    )
    first, *rings = done.stdout.splitlines()
    assert first == said
    assert bool(rings) is (most != "0")
