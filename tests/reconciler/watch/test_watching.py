"""The whole watcher on real directories with real events, as the program runs it."""

import asyncio
import itertools
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import yaml

from reconciler.core.access import Actor
from reconciler.watch import Unwatchable, Watching, named, plain
from reconciler.watch.pacing import FIRST_PAUSE, LONGEST, RESCAN
from tests.reconciler.control import within
from tests.reconciler.watch.trees import commit, git, node, nodes, repository
from tests.reconciler.world import World, document, image, machine

SOON = 10.0
BY = Actor(who="chief", kinds=frozenset(), approves=True)
assert FIRST_PAUSE < SOON < RESCAN, (
    "what comes within SOON was not found by the look of every minute"
)


class Scene:
    def __init__(self, world: World, *paths: Path) -> None:
        self.world = world
        self.paths = named([str(path) for path in paths])
        self.watching = Watching(self.paths, world.desk, world.sources, lambda: world.now)

    def state(self, name: str = "dir:shop") -> str:
        return next(str(it.state) for it, _ in self.world.sources.all() if it.name == name)

    @property
    def objects(self) -> set[str]:
        found = self.world.store.snapshot().objects.values()
        return {str(item.name) for item in found if not item.deleting}

    async def until(self, good: Callable[[], bool]) -> None:
        await within(SOON, good)

    def play(self, scene: Callable[[], Awaitable[None]]) -> float:
        """Seconds that it took to stop after the scene."""

        async def run() -> float:
            task = asyncio.create_task(self.watching.run())
            try:
                await scene()
            finally:
                begun = time.monotonic()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            return time.monotonic() - begun

        return asyncio.run(run())


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return tmp_path / "shop"


def test_a_directory_through_its_whole_life(world: World, shop: Path) -> None:
    scene = Scene(world, shop)

    async def life() -> None:
        await scene.until(lambda: scene.state() == "unreadable")
        shop.mkdir()
        await scene.until(lambda: scene.state() == "empty")
        nodes(shop, 1, 2)
        await scene.until(lambda: scene.objects == {"n1", "n2"})
        (shop / "n2.yaml").write_text("kind: [")
        await scene.until(lambda: scene.state() == "broken")
        (shop / ".new").write_text(node(2))
        (shop / ".new").rename(shop / "n2.yaml")
        await scene.until(lambda: scene.state() == "applied")
        (shop / "n1.yaml").unlink()
        await scene.until(lambda: scene.objects == {"n2"})
        shop.rename(shop.parent / "old")
        await scene.until(lambda: scene.state() == "unreadable")
        world.forget("n1", kind="Node")
        nodes(shop, 1, 2)
        await scene.until(lambda: scene.objects == {"n1", "n2"})
        shutil.rmtree(shop)
        await scene.until(lambda: scene.state() == "unreadable")
        assert scene.objects == {"n1", "n2"}

    threads = threading.active_count()
    assert scene.play(life) < 1.0
    assert threading.active_count() <= threads + 1  # one of the pool stays


def test_a_work_tree_with_a_large_checkout(world: World, shop: Path) -> None:
    repository(shop)
    nodes(shop, 1)
    commit(shop)
    git(shop, "checkout", "-q", "-b", "many")
    nodes(shop, *range(2, 402))
    many = commit(shop)
    git(shop, "checkout", "-q", "main")
    scene = Scene(world, shop)

    async def checkout() -> None:
        await scene.until(lambda: scene.objects == {"n1"})
        git(shop, "checkout", "-q", "many")
        await scene.until(lambda: scene.objects == {f"n{number}" for number in range(1, 402)})
        assert world.sources.all()[0][1].commit == many
        git(shop, "checkout", "-q", "main")
        await scene.until(lambda: scene.objects == {"n1"})

    scene.play(checkout)


def test_an_edit_that_is_not_committed_and_reading_cause_no_look(
    world: World, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository(shop)
    nodes(shop, 1)
    commit(shop)
    scene = Scene(world, shop)
    directory = scene.watching._directories["dir:shop"]
    looks, look = [], directory.look
    monkeypatch.setattr(directory, "look", lambda **it: looks.append(1) or look(**it))

    async def idle() -> None:
        await scene.until(lambda: scene.state() == "applied")
        await asyncio.sleep(0)
        before = len(looks)
        nodes(shop, 2, 3)
        git(shop, "status")
        world.cluster.signal.bump()
        await asyncio.sleep(1.0)  # far more than the quiet that a look waits for
        assert len(looks) == before
        commit(shop)
        await scene.until(lambda: scene.objects == {"n1", "n2", "n3"})
        assert len(looks) <= before + 2

    scene.play(idle)


def test_a_plain_directory_that_is_read_is_not_looked_at_for_ever(
    world: World, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes(shop, *range(50))
    scene = Scene(world, shop)
    directory = scene.watching._directories["dir:shop"]
    looks, look = [], directory.look
    monkeypatch.setattr(directory, "look", lambda **it: looks.append(1) or look(**it))

    async def idle() -> None:
        await scene.until(lambda: scene.state() == "applied")
        await asyncio.sleep(1.0)
        assert len(looks) == 1
        for file in shop.iterdir():
            file.read_bytes()
        await asyncio.sleep(1.0)
        assert len(looks) == 1

    scene.play(idle)


def test_a_conflict_is_resolved_as_soon_as_the_cluster_has_changed(
    world: World, shop: Path
) -> None:
    world.desk.apply([document("Node", "n1", address="n1.example:7701")], source="set:lab")
    nodes(shop, 1)
    scene = Scene(world, shop)

    async def conflict() -> None:
        await scene.until(lambda: scene.state() == "conflict")
        world.desk.delete([("Node", "n1")])
        world.forget("n1", kind="Node")
        world.cluster.signal.bump()  # as the loop does when it has forgotten it
        await scene.until(lambda: scene.state() == "applied")

    scene.play(conflict)


def test_what_was_deleted_comes_back_without_any_event_of_the_directory(
    world: World, shop: Path
) -> None:
    nodes(shop, 1, 2)
    scene = Scene(world, shop)

    async def deletion() -> None:
        await scene.until(lambda: scene.state() == "applied")
        world.desk.delete([("Node", "n1")])
        await scene.until(lambda: scene.state() == "conflict")
        world.forget("n1", kind="Node")
        world.cluster.signal.bump()
        await scene.until(lambda: scene.objects == {"n1", "n2"})

    scene.play(deletion)


def test_an_approval_takes_effect_at_once(world: World, shop: Path) -> None:
    world.upload()
    nodes(shop, 1)
    scene = Scene(world, shop)

    async def approval() -> None:
        world.desk.apply([image(), document("Node", "node1", address="a.example:7701")])
        for number in range(6):
            (shop / f"m{number}.yaml").write_text(yaml.safe_dump(machine(f"m{number}")))
        await scene.until(lambda: "m5" in scene.objects)
        await scene.until(lambda: scene.state() == "applied")
        world.place_all()
        for number in range(6):
            (shop / f"m{number}.yaml").unlink()
        await scene.until(lambda: scene.state() == "waiting")
        assert "m5" in scene.objects
        ((source, _),) = world.sources.all()
        world.sources.approve("dir:shop", source.digest, BY)
        await within(FIRST_PAUSE / 2, lambda: "m5" not in scene.objects)

    scene.play(approval)


def test_two_directories_go_their_own_ways(world: World, tmp_path: Path) -> None:
    nodes(tmp_path / "one", 1)
    nodes(tmp_path / "two", 2)
    (tmp_path / "two" / "x.yaml").write_text("kind: [")
    scene = Scene(world, tmp_path / "one", tmp_path / "two")

    async def both() -> None:
        await scene.until(lambda: scene.state("dir:one") == "applied")
        await scene.until(lambda: scene.state("dir:two") == "broken")
        (tmp_path / "two" / "x.yaml").unlink()
        await scene.until(lambda: scene.objects == {"n1", "n2"})

    scene.play(both)


def test_without_word_of_changes_it_looks_now_and_then_and_says_so_once(
    world: World, shop: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("reconciler.watch.pacing.RESCAN", 0.2)
    monkeypatch.setattr("reconciler.watch.bell.Bell.hang", lambda *_: "nobody tells")
    nodes(shop, 1)
    scene = Scene(world, shop)

    async def life() -> None:
        await scene.until(lambda: scene.objects == {"n1"})
        nodes(shop, 2)
        await scene.until(lambda: scene.objects == {"n1", "n2"})

    scene.play(life)
    said = [it.message for it in caplog.records if "nobody tells" in it.message]
    assert said == ["dir:shop: nobody tells; it is looked at every minute instead"]


def test_a_storm_of_changes_ends_with_what_is_there_then(world: World, shop: Path) -> None:
    """Files are rewritten as editors do, all the time; none of them is ever missed or taken for
    removed, but for the one that is."""
    nodes(shop, *range(20))
    scene = Scene(world, shop)
    stop = threading.Event()

    def churn(number: int) -> None:
        path = shop / f"n{number}.yaml"
        for turn in itertools.count():
            text = node(number) + f"# {turn}\n"
            if turn % 3 == 0:
                path.write_text(text)
            elif turn % 3 == 1:
                (shop / f".n{number}.swp").write_text(text)
                (shop / f".n{number}.swp").rename(path)
            else:
                path.rename(shop / f"n{number}.yaml~")
                path.write_text(text)
                (shop / f"n{number}.yaml~").unlink()
            if stop.wait(0.01):
                return

    async def storm() -> None:
        await scene.until(lambda: len(scene.objects) == 20)
        churning = [threading.Thread(target=churn, args=(number,)) for number in range(3)]
        for thread in churning:
            thread.start()
        await asyncio.sleep(3 * LONGEST / 2)
        (shop / "n19.yaml").unlink()
        stop.set()
        for thread in churning:
            await asyncio.to_thread(thread.join)
        await scene.until(lambda: scene.objects == {f"n{number}" for number in range(19)})
        await scene.until(lambda: scene.state() == "applied")

    scene.play(storm)
    gone = [it.event.name for it in world.store.events() if it.event.reason == "DeletionRequested"]
    assert gone == ["n19"]


def test_without_directories_there_is_nothing_to_do(world: World) -> None:
    scene = Scene(world)

    async def nothing() -> None:
        world.cluster.signal.bump()
        await asyncio.sleep(0.05)

    assert scene.play(nothing) < 1.0


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (("a/shop", "b/shop"), "would both be called dir:shop"),
        (("a", "a/shop"), "one is inside the other"),
        (("a", "./a/"), "are the same directory"),
        (("a", "link"), "are the same directory"),
        (("link/deep", "a"), "one is inside the other"),
        (("a b",), "is known by its last name"),
        (("/",), "is known by its last name"),
        (("a", ""), "needs a directory"),
    ],
)
def test_directories_that_cannot_be_watched_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(Unwatchable, match=said):
        named(paths)


def test_the_program_says_it_and_ends(tmp_path: Path) -> None:
    state = [f"--state={tmp_path}/r", f"--images={tmp_path}/i", f"--agent-token-file={tmp_path}/t"]
    ports = ["--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0"]
    program = "from reconciler.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *state, *ports, "--watch=/x/shop", "--watch=/y/shop"],
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "iaas-reconciler: --watch /x/shop and --watch /y/shop would both be called dir:shop;"
        " rename one, or watch a symbolic link to it\n"
    )


def test_a_look_that_takes_long_does_not_delay_the_end(
    world: World, shop: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nodes(shop, 1)
    begun, ended = threading.Event(), threading.Event()
    read = plain.read

    def slow(path: str, stopping: Callable[[], bool]) -> object:
        begun.set()
        ended.wait(SOON)
        return read(path, stopping)

    monkeypatch.setattr(plain, "read", slow)
    scene = Scene(world, shop)

    async def life() -> None:
        await asyncio.to_thread(begun.wait, SOON)

    assert scene.play(life) < 1.0
    ended.set()
    for thread in threading.enumerate():
        if thread.name == "watch":
            thread.join(SOON)
    assert scene.objects == set()
    assert not caplog.records


def test_names_of_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert named(["shop", "../x/my_lab.d/"]) == {
        "dir:shop": str(tmp_path / "shop"),
        "dir:my_lab.d": str(tmp_path.parent / "x" / "my_lab.d"),
    }
