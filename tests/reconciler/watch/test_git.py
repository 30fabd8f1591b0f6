"""Reading a git work tree: the commit, never the work tree; every kind of repository that git makes."""

import itertools
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from dulwich.repo import Repo

from manifests.guard import LIMITS
from reconciler.watch import git as reading
from reconciler.watch import plain
from reconciler.watch.found import Found, Paused, Unreadable
from tests.reconciler.watch.trees import commit, git, node, nodes, repository


def read(path: Path) -> Found:
    place = reading.find(str(path))
    assert place is not None
    return reading.read(place, lambda: False)


def names(found: Found) -> list[str]:
    return [name for name, _ in found.files]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return repository(tmp_path / "shop")


def test_a_directory_outside_of_any_work_tree(tmp_path: Path) -> None:
    assert reading.find(str(tmp_path)) is None
    assert reading.find(str(tmp_path / "none")) is None


def test_the_commit_counts_not_the_work_tree(shop: Path) -> None:
    nodes(shop, 1, 2)
    name = commit(shop)
    (shop / "n1.yaml").write_text("edited: yes")
    (shop / "n2.yaml").unlink()
    nodes(shop, 3)
    git(shop, "add", "n3.yaml")
    found = read(shop)
    assert (found.kind, found.commit) == ("git", name)
    assert found.files == (("n1.yaml", node(1).encode()), ("n2.yaml", node(2).encode()))


def test_only_what_is_below_the_directory_counts(shop: Path) -> None:
    nodes(shop, 1)
    nodes(shop / "a" / "b", 2)
    nodes(shop / "a" / "b" / "c", 3)
    nodes(shop / "a" / "bc", 4)
    commit(shop)
    assert names(read(shop / "a" / "b")) == ["c/n3.yaml", "n2.yaml"]
    shutil.rmtree(shop / "a")
    assert names(read(shop / "a" / "b")) == ["c/n3.yaml", "n2.yaml"], "it is in the commit"


def test_what_is_not_committed_is_empty_and_says_so(shop: Path) -> None:
    nodes(shop / "a", 1)
    assert read(shop / "a").empty == f"the git repository {shop} has no commit yet"
    (shop / "README").write_text("")
    git(shop, "add", "README")
    git(shop, "commit", "-q", "-m", "first")
    assert "has no directory a; git add it, and commit" in read(shop / "a").empty
    assert "has no manifests here" in read(shop).empty


def test_links_and_submodules_are_left_out_with_a_note(shop: Path, tmp_path: Path) -> None:
    other = repository(tmp_path / "other")
    nodes(other, 9)
    commit(other)
    nodes(shop, 1)
    (shop / "link.yaml").symlink_to("/etc/passwd")
    (shop / "inner.yaml").symlink_to("n1.yaml")
    git(shop, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "sub")
    commit(shop)
    found = read(shop)
    assert names(found) == ["n1.yaml"]
    assert found.notes == (
        "inner.yaml is a symbolic link and was left out",
        "link.yaml is a symbolic link and was left out",
        "sub is a submodule and was left out",
    )
    assert names(read(shop / "sub")) == ["n9.yaml"], "it is a work tree itself"


def test_packed_and_collected(shop: Path) -> None:
    for number in range(30):
        nodes(shop, number)
        name = commit(shop)
    git(shop, "gc", "-q", "--aggressive", "--prune=now")
    git(shop, "pack-refs", "--all")
    assert not (shop / ".git" / "refs" / "heads" / "main").exists()
    found = read(shop)
    assert (len(found.files), found.commit) == (30, name)


def test_reading_while_git_packs_and_collects(shop: Path) -> None:
    nodes(shop, 0)
    commit(shop)
    stop = threading.Event()

    def churn() -> None:
        for number in itertools.count(1):
            nodes(shop, number)
            commit(shop)
            git(shop, "gc", "-q", "--prune=now")
            if stop.is_set():
                return

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        deadline, known = time.monotonic() + 3, 1
        while time.monotonic() < deadline:
            found = read(shop)
            assert len(found.files) >= known, "never less than before"
            known = len(found.files)
    finally:
        stop.set()
        thread.join()
    assert len(read(shop).files) > 3


def test_a_linked_work_tree_has_a_head_of_its_own(shop: Path, tmp_path: Path) -> None:
    nodes(shop, 1)
    commit(shop)
    linked = tmp_path / "linked"
    git(shop, "worktree", "add", "-q", "-b", "side", str(linked))
    nodes(linked, 2)
    side = commit(linked)
    assert (names(read(linked)), read(linked).commit) == (["n1.yaml", "n2.yaml"], side)
    assert names(read(shop)) == ["n1.yaml"]


def test_a_git_directory_elsewhere_and_a_shallow_clone(shop: Path, tmp_path: Path) -> None:
    nodes(shop, 1)
    commit(shop)
    nodes(shop, 2)
    name = commit(shop)
    git(tmp_path, "clone", "-q", "--separate-git-dir=elsewhere", str(shop), "apart")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{shop}", "shallow")
    for clone in ("apart", "shallow"):
        assert read(tmp_path / clone).commit == name
        assert names(read(tmp_path / clone)) == ["n1.yaml", "n2.yaml"]


def test_a_repository_with_sha256(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--object-format=sha256", "new")
    nodes(tmp_path / "new", 1)
    name = commit(tmp_path / "new")
    assert len(name) == 64
    assert (read(tmp_path / "new").commit, names(read(tmp_path / "new"))) == (name, ["n1.yaml"])


def test_alternates_are_found(shop: Path, tmp_path: Path) -> None:
    nodes(shop, 1)
    name = commit(shop)
    git(tmp_path, "clone", "-q", "--shared", str(shop), "shared")
    assert read(tmp_path / "shared").commit == name


@pytest.mark.parametrize("what", ["rebase", "bisect"])
def test_nothing_is_read_in_the_middle_of_a_rebase_or_a_bisection(shop: Path, what: str) -> None:
    nodes(shop, 1)
    base = commit(shop)
    nodes(shop, 2)
    commit(shop)
    (shop / "n2.yaml").write_text("one")
    side = commit(shop)
    git(shop, "checkout", "-q", "-b", "side", base)
    (shop / "n2.yaml").write_text("two")
    commit(shop)
    if what == "rebase":
        git(shop, "rebase", "-q", "main", check=False)
    else:
        git(shop, "bisect", "start", "-q", side, base)
    with pytest.raises(Paused, match=f"{what}.* under way"):
        read(shop)
    git(shop, *(["rebase", "--abort"] if what == "rebase" else ["bisect", "reset"]))
    assert "n1.yaml" in names(read(shop))


def damage_head(repo: Path) -> None:
    (repo / ".git" / "HEAD").write_bytes(b"\0\xff garbage")


def damage_objects(repo: Path) -> None:
    for path in (repo / ".git" / "objects").rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(b"garbage")


def lose_objects(repo: Path) -> None:
    shutil.rmtree(repo / ".git" / "objects")
    (repo / ".git" / "objects").mkdir()


def lose_everything(repo: Path) -> None:
    shutil.rmtree(repo / ".git")
    (repo / ".git").mkdir()


def damage_config(repo: Path) -> None:
    (repo / ".git" / "config").write_bytes(b"[core\nx")


def newer(repo: Path) -> None:
    git(repo, "config", "core.repositoryformatversion", "7")


def lead_nowhere(repo: Path) -> None:
    shutil.rmtree(repo / ".git")
    (repo / ".git").write_text("gitdir: /nowhere/at/all\n")


def no_gitfile(repo: Path) -> None:
    shutil.rmtree(repo / ".git")
    (repo / ".git").write_text("what is this\n")


@pytest.mark.parametrize(
    "damage",
    [
        damage_head,
        damage_objects,
        lose_objects,
        lose_everything,
        damage_config,
        newer,
        lead_nowhere,
        no_gitfile,
    ],
)
def test_a_damaged_repository_is_unreadable_not_empty(shop: Path, damage: object) -> None:
    nodes(shop, 1)
    commit(shop)
    damage(shop)  # type: ignore[operator]
    with pytest.raises(Unreadable) as caught:
        read(shop)
    assert str(shop) in str(caught.value) or "/nowhere" in str(caught.value)


def test_a_lost_blob_is_unreadable(shop: Path) -> None:
    nodes(shop, 1)
    commit(shop)
    blob = git(shop, "rev-parse", "HEAD:n1.yaml")
    (shop / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(Unreadable, match="see git fsck"):
        read(shop)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_a_repository_of_somebody_else_is_refused(shop: Path, tmp_path: Path) -> None:
    nodes(shop, 1)
    commit(shop)
    for item in (shop / ".git", shop):
        os.chown(item, 12345, 12345)
        with pytest.raises(Unreadable, match=r"dubious ownership: .* belongs to user 12345"):
            read(shop)
        os.chown(item, 0, 0)
    assert names(read(shop)) == ["n1.yaml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_who_became_root_is_trusted_as_git_does(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes(shop, 1)
    commit(shop)
    os.chown(shop / ".git", 12345, 12345)
    monkeypatch.setenv("SUDO_UID", "12345")
    assert names(read(shop)) == ["n1.yaml"]


def test_signs_of_a_commit_and_what_is_none(shop: Path) -> None:
    place = reading.find(str(shop))
    assert place is not None
    control = shop / ".git"
    for sign in ("HEAD", "packed-refs", "refs/heads/main", "refs", "rebase-merge", "BISECT_LOG"):
        assert reading.is_sign(place, str(control / sign)), sign
    for other in ("index", "objects/ab/cdef", "HEAD.lock", "refs/heads/main.lock", "config"):
        assert not reading.is_sign(place, str(control / other)), other
    assert not reading.is_sign(place, str(shop / "n1.yaml"))


def test_a_few_objects_that_are_a_billion_directories(shop: Path) -> None:
    blob = git(shop, "hash-object", "-w", "-t", "blob", "/dev/null")
    entries = f"100644 blob {blob}\tREADME\n"
    for _ in range(9):
        tree = _tree(shop, entries)
        entries = "".join(f"040000 tree {tree}\td{number}\n" for number in range(10))
    name = git(shop, "commit-tree", "-m", "bomb", _tree(shop, entries))
    git(shop, "update-ref", "HEAD", name)
    found = read(shop)
    assert (found.commit, names(found)) == (name, [])


def _tree(where: Path, entries: str) -> str:
    words = ["git", "-C", where, "mktree"]
    done = subprocess.run(words, input=entries, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_packed_file_that_is_too_large_is_not_unpacked(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte in a pack can be a gigabyte in memory."""
    nodes(shop, 1)
    with (shop / "large.yaml").open("wb") as file:
        file.truncate(LIMITS.size + 1)
    commit(shop)
    git(shop, "gc", "-q")
    blob = git(shop, "rev-parse", "HEAD:large.yaml")
    asked: list[bytes] = []
    get = Repo.__getitem__

    def watched(repo: Repo, name: Any) -> Any:
        asked.append(name)
        return get(repo, name)

    monkeypatch.setattr(Repo, "__getitem__", watched)
    found = read(shop)
    assert names(found) == ["n1.yaml"]
    assert [problem.message for problem in found.problems] == ["is larger than 16 MiB"]
    assert blob.encode() not in asked


@pytest.mark.parametrize("committed", [True, False])
def test_more_bytes_of_manifests_than_are_read(
    tmp_path: Path, committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.watch.found.MOST_BYTES", 1 << 20)
    where = repository(tmp_path / "shop") if committed else tmp_path
    for number in range(3):
        (where / f"{number}.yaml").write_text("#" * (400 << 10))
    if committed:
        commit(where)
    with pytest.raises(Unreadable, match="more than 1 MiB together"):
        read(where) if committed else plain.read(str(where), lambda: False)
