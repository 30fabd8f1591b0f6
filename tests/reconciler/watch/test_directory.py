"""What a watched directory does to the cluster, and never does. Each look is made by the test."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from reconciler.core.access import Actor
from reconciler.core.sources import Applied
from reconciler.sources import NotWaiting
from reconciler.store import Store, StoreError
from reconciler.store.records import WRITERS
from reconciler.submit import Busy, Conflicts
from reconciler.watch.pacing import Again
from tests.reconciler.watch.trees import Watched, commit, git, node, nodes, repository
from tests.reconciler.world import World, document, image, machine

BY = Actor(who="chief", kinds=frozenset(), approves=True)
Watch = Callable[..., Watched]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    return tmp_path / "shop"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(shop: Path, *documents: dict[str, object], name: str = "all.yaml") -> None:
    (shop / name).write_text(yaml.safe_dump_all(documents))


def running(world: World, watch: Watch, shop: Path, count: int) -> Watched:
    """So many machines of the directory, one in each file, running."""
    world.upload()
    put(shop, image(), node_document(), name="base.yaml")
    for number in range(count):
        put(shop, machine(f"m{number}"), name=f"m{number}.yaml")
    watched = watch(shop)
    assert watched.look() is Again.NO
    world.place_all()
    return watched


def node_document() -> dict[str, object]:
    return document("Node", "node1", address="node1.example:7701")


def test_what_is_there_is_applied_and_told(world: World, watch: Watch, shop: Path) -> None:
    nodes(shop, 1, 2)
    watched = watch(shop)
    assert watched.state == "starting"
    assert watched.look() is Again.NO
    assert (watched.state, watched.objects, watched.seen.kind) == ("applied", {"n1", "n2"}, "plain")
    assert watched.row.revision == world.store.snapshot().revision
    assert (watched.row.digest, watched.row.at) == (watched.seen.digest, world.now)
    (event,) = (item.event for item in world.store.events(kind="Source"))
    assert (event.name, event.reason) == ("dir:shop", "Applied")
    assert event.message == "2 files in force: 2 objects changed"


def test_an_unchanged_directory_makes_no_write_also_after_a_restart(
    world: World, watch: Watch, shop: Path
) -> None:
    nodes(shop, 1)
    watch(shop).look()
    writes, version = world.store.writes, world.cluster.signal.version
    again = watch(shop)
    for tries in (False, True, False):
        again.look(tries=tries)
    assert (again.state, world.store.writes) == ("applied", writes)
    assert world.cluster.signal.version <= version + 2, "nobody is woken for nothing"


def test_a_broken_directory_is_told_once_also_over_a_restart(
    world: World, watch: Watch, shop: Path
) -> None:
    (shop / "a.yaml").write_text("kind: [")
    watch(shop).look()
    writes = world.store.writes
    again = watch(shop)
    for _ in range(3):
        again.look(tries=True)
    assert (again.state, again.told, world.store.writes) == ("broken", ["Broken"], writes)
    (shop / "a.yaml").write_text("kind: {")
    again.look()
    assert again.told == ["Broken", "Broken"]


def test_a_broken_file_refuses_the_whole_set_with_its_place(
    world: World, watch: Watch, shop: Path
) -> None:
    nodes(shop, 1, 2)
    watched = watch(shop)
    watched.look()
    before = world.store.snapshot()
    nodes(shop, 3)
    (shop / "n1.yaml").write_text(node(1).replace("address", "adress"))
    (shop / "n2.yaml").unlink()
    assert watched.look() is Again.LATER
    assert watched.state == "broken"
    assert world.store.snapshot() == before
    shown = [str(problem) for problem in watched.seen.problems]
    assert shown == [
        "n1.yaml:5:1: spec.address: missing; write address: 127.0.0.1:7701",
        "n1.yaml:6:3: spec.adress: unknown field; did you mean 'address'?",
    ]
    assert watched.seen.reason == f"{shown[0]} (and 1 more)"
    nodes(shop, 1)
    watched.look()
    assert (watched.state, watched.objects) == ("applied", {"n1", "n3"})
    assert watched.told == ["Applied", "Broken", "Applied"]


def test_faults_of_several_files_are_told_together(world: World, watch: Watch, shop: Path) -> None:
    (shop / "a.yaml").write_text("apiVersion: iaas/v1\nkind: Nod\n---\n\tx: 1\n")
    nodes(shop, 1)
    nodes(shop / "sub", 1)
    watched = watch(shop)
    watched.look()
    places = [f"{it.file}:{it.line}:{it.column}" for it in watched.seen.problems]
    assert places[0].startswith("a.yaml:2:")
    assert places[-1].startswith("sub/n1.yaml:")


def test_an_empty_or_vanished_directory_removes_nothing(
    world: World, watch: Watch, shop: Path
) -> None:
    nodes(shop, 1, 2)
    watched = watch(shop)
    watched.look()
    for file in shop.iterdir():
        file.unlink()
    watched.look()
    assert (watched.state, watched.objects) == ("empty", {"n1", "n2"})
    assert "nothing is removed" in watched.seen.reason
    shop.rmdir()
    assert watched.look() is Again.LATER
    assert (watched.state, watched.seen.reason) == ("unreadable", "there is no such directory")
    shop.write_text("a file")
    watched.look()
    assert (watched.state, watched.objects) == ("unreadable", {"n1", "n2"})
    shop.unlink()
    nodes(shop, 2, 3)
    watched.look()
    assert (watched.state, watched.objects) == ("applied", {"n2", "n3"})


def test_an_emptied_file_is_a_problem_not_an_absence(
    world: World, watch: Watch, shop: Path
) -> None:
    nodes(shop, 1, 2)
    watched = watch(shop)
    watched.look()
    (shop / "n1.yaml").write_text("# later\n")
    watched.look()
    assert (watched.state, watched.objects) == ("broken", {"n1", "n2"})
    assert watched.seen.reason == "n1.yaml:1:1: no documents in this file"


def test_a_file_that_is_missing_for_a_moment_removes_nothing(
    world: World, watch: Watch, shop: Path
) -> None:
    nodes(shop, 1, 2)
    watched = watch(shop)
    watched.look()
    (shop / "n1.yaml").rename(shop / "n1.yaml~")
    assert watched.directory.look(tries=False).again is Again.SOON
    nodes(shop, 1)
    watched.directory.look(tries=True)
    assert (watched.state, watched.objects) == ("applied", {"n1", "n2"})
    (shop / "n1.yaml").unlink()
    assert watched.directory.look(tries=False).again is Again.SOON
    watched.directory.look(tries=True)
    assert watched.objects == {"n2"}, "seen twice, it is meant"


def test_a_removed_file_removes_its_machine_and_a_returned_one_waits_until_it_is_gone(
    world: World, watch: Watch, shop: Path
) -> None:
    watched = running(world, watch, shop, 2)
    (shop / "m1.yaml").rename(shop / "m1.off")
    watched.look()
    assert watched.objects == {"disk", "node1", "m0"}
    (shop / "m1.off").rename(shop / "m1.yaml")
    assert watched.look() is Again.WHEN_CHANGED
    assert watched.state == "conflict"
    assert watched.seen.reason.startswith("m1.yaml:4:")
    assert "is being deleted" in watched.seen.reason
    world.forget("m1")
    assert watched.look(tries=True) is Again.NO
    assert (watched.state, "m1" in watched.objects) == ("applied", True)


def test_many_removals_wait_for_approval_of_exactly_what_was_seen(
    world: World, watch: Watch, shop: Path
) -> None:
    watched = running(world, watch, shop, 6)
    for number in range(5):
        (shop / f"m{number}.yaml").unlink()
    before = world.store.snapshot()
    assert watched.look() is Again.WHEN_CHANGED
    assert world.store.snapshot() == before
    assert watched.state == "waiting"
    assert watched.seen.reason.startswith("it waits for approval: this would stop")
    assert [line.name for line in watched.seen.lines] == ["m0", "m1", "m2", "m3", "m4"]
    waits = watched.seen.digest
    with pytest.raises(NotWaiting, match="another content"):
        watched.sources.approve("dir:shop", "0" * 64, BY)
    (shop / "m5.yaml").unlink()
    watched.sources.approve("dir:shop", waits, BY)
    watched.look()
    assert watched.state == "waiting", "another content than the approved one"
    put(shop, machine("m5"), name="m5.yaml")
    watched.look()
    assert watched.state == "waiting", "the approval is void by now"
    watched.sources.approve("dir:shop", waits, BY)
    watched.look()
    assert (watched.state, watched.objects) == ("applied", {"disk", "node1", "m5"})
    assert watched.told == ["Applied", "NeedsApproval", "NeedsApproval", "NeedsApproval", "Applied"]
    audited = [item.entry for item in world.store.audited() if item.entry.action == "approve"]
    assert [(entry.who, entry.objects) for entry in audited] == [
        ("chief", ("source/dir:shop",))
    ] * 2


def test_a_commit_is_approved_by_its_name(world: World, watch: Watch, shop: Path) -> None:
    repository(shop)
    watched = running(world, watch, shop, 0)
    for number in range(5):
        put(shop, machine(f"m{number}"), name=f"m{number}.yaml")
    put(shop, image(), node_document(), name="base.yaml")
    commit(shop)
    watched.look()
    world.place_all()
    git(shop, "rm", "-q", *(f"m{number}.yaml" for number in range(5)))
    name = commit(shop)
    watched.look()
    assert watched.state == "waiting"
    with pytest.raises(NotWaiting, match=name):
        watched.sources.approve("dir:shop", "0" * 40, BY)
    watched.sources.approve("dir:shop", name, BY)
    watched.look()
    assert (watched.state, watched.row.commit, watched.objects) == (
        "applied",
        name,
        {"disk", "node1"},
    )


def test_what_would_be_done_is_told_even_where_the_cluster_changes_meanwhile(
    world: World, watch: Watch, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = running(world, watch, shop, 6)
    for number in range(5):
        (shop / f"m{number}.yaml").unlink()
    apply = world.desk.apply

    def changing(*documents: object, **options: object) -> object:
        if options["dry_run"]:
            raise Busy("the cluster is changing too fast; try again")
        return apply(*documents, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(world.desk, "apply", changing)
    assert watched.look() is Again.WHEN_CHANGED
    assert (watched.state, watched.seen.lines) == ("waiting", ())


def test_another_project_of_the_same_name_waits_for_approval(
    world: World, watch: Watch, shop: Path
) -> None:
    nodes(shop, 1)
    world.upload()
    put(shop, image("one"))
    watch(shop).look()
    shutil.rmtree(shop)
    shop.mkdir()
    put(shop, image("two"))
    watched = watch(shop)
    watched.look()
    assert (watched.state, watched.objects) == ("waiting", {"one", "n1"})


def test_objects_of_one_source_are_not_overwritten_by_another(
    world: World, watch: Watch, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    nodes(one, 1)
    first, second = watch(one, "dir:one"), watch(two, "dir:two")
    first.look()
    world.desk.apply([document("Node", "n2", address="n2.example:7701")], source="set:lab")
    nodes(two, 1, 2, 3)
    second.look()
    assert (second.state, len(world.store.snapshot().objects)) == (
        "conflict",
        2,
    )
    shown = [str(item) for item in second.seen.problems]
    assert "node 'n1' belongs to dir:one" in shown[0]
    assert "change it in that watched directory" in shown[0]
    assert "node 'n2' belongs to set:lab" in shown[1]
    assert shown[0].startswith("n1.yaml:4:")
    for source in ("api", "set:lab", "dir:two"):
        with pytest.raises(Conflicts) as caught:
            world.desk.apply([document("Node", "n1", address="x.example:7701")], source=source)
        assert caught.value.conflicts[0].owner == "dir:one"
    world.desk.delete([("Node", "n2")])
    world.forget("n2", kind="Node")
    (one / "n1.yaml").unlink()
    nodes(one, 5)
    first.look()
    world.forget("n1", kind="Node")
    second.look(tries=True)
    assert second.state == "applied"


def test_what_somebody_deletes_comes_back(world: World, watch: Watch, shop: Path) -> None:
    nodes(shop, 1, 2)
    watched = watch(shop)
    watched.look()
    assert not watched.directory.drifted(world.cluster.snapshot())
    (line,) = world.desk.delete([("Node", "n1")]).lines
    assert line.reason == "deleted by api; dir:shop will make it again"
    assert watched.directory.drifted(world.cluster.snapshot())
    watched.look(tries=True)
    assert watched.state == "conflict"
    world.forget("n1", kind="Node")
    watched.look(tries=True)
    assert (watched.state, watched.objects) == ("applied", {"n1", "n2"})


def test_what_somebody_deletes_right_behind_the_write_comes_back(
    world: World, watch: Watch, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes(shop, 1, 2)
    watched = watch(shop)
    apply = world.desk.apply

    def deleted_behind(*documents: object, **options: object) -> object:
        outcome = apply(*documents, **options)  # type: ignore[arg-type]
        monkeypatch.undo()
        world.desk.delete([("Node", "n1")])
        return outcome

    monkeypatch.setattr(world.desk, "apply", deleted_behind)
    assert watched.look() is Again.WHEN_CHANGED  # it was looked at again, and is on its way out
    world.forget("n1", kind="Node")
    assert watched.look(tries=True) is Again.NO
    assert (watched.state, watched.objects) == ("applied", {"n1", "n2"})


def test_bytes_of_an_image_that_come_later(world: World, watch: Watch, shop: Path) -> None:
    put(shop, image())
    watched = watch(shop)
    assert watched.look() is Again.LATER
    assert watched.state == "broken"
    assert "the bytes are not here" in watched.seen.reason
    world.upload()
    assert watched.look(tries=True) is Again.NO
    assert watched.state == "applied"


def image_file(shop: Path, text: bytes, age: float = 60) -> Path:
    path = shop / "images" / "disk.raw"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text)
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def with_file(shop: Path, file: str, **more: str) -> None:
    (shop / "sub").mkdir(exist_ok=True)
    spec = {"type": "libvirt", "format": "raw", "file": file, **more}
    put(shop, document("Image", "disk", **spec), name="sub/image.yaml")


def digest_of(world: World) -> str:
    return str(world.store.snapshot().objects["Image", "disk"].image.sha256)


def test_the_file_of_an_image_is_taken_and_its_change_noticed(
    world: World, watch: Watch, shop: Path
) -> None:
    path = image_file(shop, b"one" * 512)
    with_file(shop, "../images/disk.raw")
    watched = watch(shop)
    assert watched.look() is Again.NO
    assert (watched.state, digest_of(world)) == ("applied", sha256(b"one" * 512))
    watched.rung.clear()
    path.write_bytes(b"two" * 512)
    watched.waits_for_a_ring()
    os.utime(path, (1, 1))
    assert watched.look() is Again.NO
    assert digest_of(world) == sha256(b"two" * 512)
    writes = world.store.writes
    watched.look(tries=True)
    watch(shop).look()
    assert world.store.writes == writes
    assert world.library.has(digest_of(world))


def test_a_file_that_is_being_written_is_waited_for(world: World, watch: Watch, shop: Path) -> None:
    path = image_file(shop, b"half", age=0)
    with_file(shop, "../images/disk.raw")
    watched = watch(shop)
    assert watched.look() is Again.SOON
    assert watched.objects == set()
    os.utime(path, (1, 1))
    assert watched.look() is Again.NO
    assert watched.objects == {"disk"}


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("../images/none.raw", "images/none.raw cannot be read: no such file or directory"),
        (
            "../../outside.raw",
            "outside.raw is in none of the directories that images are taken from",
        ),
        ("/etc/hostname", "/etc/hostname is in none of the directories"),
        ("../images/link.raw", "images/link.raw cannot be read: not a regular file"),
        ("../images", "shop/images cannot be read: not a regular file"),
    ],
)
def test_a_file_that_is_not_to_be_had_is_a_problem_with_its_place(
    world: World, watch: Watch, shop: Path, file: str, said: str
) -> None:
    (shop.parent / "outside.raw").write_bytes(b"x" * 512)
    os.utime(shop.parent / "outside.raw", (1, 1))
    image_file(shop, b"x" * 512)
    (shop / "images" / "link.raw").symlink_to("/etc/hostname")
    with_file(shop, file)
    watched = watch(shop)
    assert watched.look() is Again.LATER
    (problem,) = watched.seen.problems
    assert (problem.file, problem.line, problem.column) == ("sub/image.yaml", 6, 9)
    assert said in problem.message


def test_other_bytes_than_the_pinned_ones_are_refused(
    world: World, watch: Watch, shop: Path
) -> None:
    image_file(shop, b"x" * 512, age=0)
    with_file(shop, "../images/disk.raw", sha256=sha256(b"y"))
    watched = watch(shop)
    watched.look()
    assert (watched.state, watched.objects) == ("broken", set())
    with_file(shop, "../images/disk.raw", sha256=sha256(b"x" * 512))
    watched.look()
    assert (watched.state, watched.objects) == ("applied", {"disk"})


def test_in_a_work_tree_the_file_is_that_of_the_work_tree(
    world: World, watch: Watch, shop: Path
) -> None:
    repository(shop)
    with_file(shop, "../images/disk.raw")
    commit(shop)
    image_file(shop, b"x" * 512)
    watched = watch(shop)
    watched.look()
    assert (watched.seen.kind, digest_of(world)) == ("git", sha256(b"x" * 512))


def test_a_commit_is_applied_and_kept_with_the_revision(
    world: World, watch: Watch, shop: Path
) -> None:
    repository(shop)
    nodes(shop, 1)
    first = commit(shop)
    watched = watch(shop)
    watched.look()
    assert (watched.seen.kind, watched.row.commit) == ("git", first)
    nodes(shop, 2)
    watched.look()
    assert watched.objects == {"n1"}, "not committed"
    second = commit(shop)
    watched.look()
    assert (watched.objects, watched.row.commit) == ({"n1", "n2"}, second)
    assert watched.row.revision == world.store.snapshot().revision
    revision = watched.row.revision
    third = commit(shop, "nothing in it")
    watched.look()
    assert (watched.row.commit, watched.row.revision) == (third, revision)
    writes = world.store.writes
    watched.look(tries=True)
    assert world.store.writes == writes


def test_a_broken_commit_is_refused_and_a_revert_mends_it(
    world: World, watch: Watch, shop: Path
) -> None:
    repository(shop)
    nodes(shop, 1, 2)
    good = commit(shop)
    watched = watch(shop)
    watched.look()
    (shop / "n2.yaml").write_text("kind: Node\nname: x\n")
    bad = commit(shop)
    watched.look()
    assert (watched.state, watched.seen.commit, watched.row.commit) == ("broken", bad, good)
    assert watched.seen.problems[0].file == "n2.yaml"
    git(shop, "revert", "--no-edit", "HEAD")
    watched.look()
    assert (watched.state, watched.objects) == ("applied", {"n1", "n2"})
    assert watched.row.commit == git(shop, "rev-parse", "HEAD")


def test_a_branch_with_many_other_files_amend_and_detached_heads(
    world: World, watch: Watch, shop: Path
) -> None:
    repository(shop)
    nodes(shop, 1)
    first = commit(shop)
    git(shop, "checkout", "-q", "-b", "many")
    nodes(shop, *range(2, 402))
    commit(shop)
    git(shop, "checkout", "-q", "main")
    watched = watch(shop)
    watched.look()
    git(shop, "checkout", "-q", "many")
    watched.look()
    assert len(watched.objects) == 401
    (shop / "n1.yaml").write_text(node(1) + "# amended\n")
    git(shop, "commit", "-q", "-a", "--amend", "-m", "amended")
    watched.look()
    assert watched.row.commit == git(shop, "rev-parse", "HEAD")
    git(shop, "checkout", "-q", first)
    watched.look()
    assert (watched.objects, watched.row.commit) == ({"n1"}, first)


def test_git_states_that_remove_nothing(world: World, watch: Watch, shop: Path) -> None:
    repository(shop)
    nodes(shop, 1)
    commit(shop)
    watched = watch(shop)
    watched.look()
    git(shop, "checkout", "-q", "--orphan", "empty")
    watched.look()
    assert (watched.state, watched.objects) == ("empty", {"n1"})
    (shop / ".git" / "HEAD").write_text("garbage")
    watched.look()
    assert (watched.state, watched.objects) == ("unreadable", {"n1"})
    shutil.rmtree(shop / ".git")
    watched.look()
    assert (watched.state, watched.seen.kind) == ("applied", "plain")


def test_what_is_no_longer_watched_is_shown_while_objects_of_it_are_left(
    world: World, watch: Watch, shop: Path
) -> None:
    nodes(shop, 1)
    watch(shop).look()
    ((source, row),) = world.sources.all()
    assert (source.state, source.path, row.revision) == ("unwatched", str(shop), 2)
    assert source.reason.startswith("no longer watched")
    with pytest.raises(NotWaiting):
        world.sources.approve("dir:shop", row.digest, BY)
    world.desk.delete([("Node", "n1")])
    world.forget("n1", kind="Node")
    assert world.sources.all() == []


def test_what_is_in_force_is_stored_with_it_or_neither_is(
    world: World, watch: Watch, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise StoreError("the power is gone")

    nodes(shop, 1)
    watched = watch(shop)
    with monkeypatch.context() as patch:
        patch.setitem(WRITERS, Applied, crash)
        assert watched.look() is Again.LATER
    after = Store(world.store.database)
    assert (after.snapshot().objects, after.sources(), after.events()) == ({}, {}, ())
    watch(shop).look()
    after = Store(world.store.database)
    assert set(after.snapshot().objects) == {("Node", "n1")}
    assert after.sources()["dir:shop"].revision == after.snapshot().revision


def test_trouble_of_the_store_is_not_told_as_trouble_of_the_directory(
    world: World, watch: Watch, shop: Path
) -> None:
    nodes(shop, 1)
    watched = watch(shop)
    ((pages,),) = world.store.database.sql("PRAGMA page_count")
    world.store.database.sql(f"PRAGMA max_page_count = {pages}")
    (shop / "big.yaml").write_text(
        node(2)
        + f"# {'x' * 100_000}\n"
        + "".join(f"---\n{node(number)}" for number in range(3, 400))
    )
    assert watched.look() is Again.LATER
    assert (watched.state, watched.objects, watched.told) == ("conflict", set(), [])
    assert watched.seen.reason.endswith(
        "no room on the disk; nothing was stored; it is tried again"
    )
    world.store.database.sql("PRAGMA max_page_count = 1000000")
    watched.look(tries=True)
    assert (watched.state, len(watched.objects)) == ("applied", 399)
