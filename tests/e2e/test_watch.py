"""A git work tree as the source: what is committed runs, and nothing else does."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.documents import Document, image, machine, node
from tests.e2e.lab import Lab
from tests.e2e.ports import fetch, free_port
from tests.reconciler.watch.trees import commit, git, repository

pytestmark = [pytest.mark.docker, pytest.mark.timeout(200)]

SOON = 30.0
NAME = "dir:shop"


class Shop:
    def __init__(self, lab: Lab, web: Path) -> None:
        self.lab = lab
        self.port = free_port()
        self.dir = repository(lab.dir / "shop")
        shutil.copy(web, self.dir / "web.tar")
        (self.dir / ".gitignore").write_text("*.tar\n")
        self.write("base", node(lab), image("web", Path("web.tar")))

    def write(self, name: str, *documents: Document) -> None:
        path = self.dir / "manifests" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            yaml.safe_dump_all(documents, sort_keys=False).replace("web.tar", "../web.tar")
        )

    @property
    def source(self) -> dict[str, Any]:
        found: dict[str, Any] = self.lab.get("source", NAME)
        return found

    def until(self, good: Callable[[], bool]) -> float:
        """Seconds until it is so."""
        begun = time.monotonic()
        while not good():
            assert time.monotonic() - begun < SOON, f"{self.source}\n{self.lab.tails()}"
            time.sleep(0.1)
        return time.monotonic() - begun

    def until_state(self, state: str, of: str = "") -> float:
        """`of`: the commit that it is about."""
        return self.until(
            lambda: self.source["state"] == state and of in ("", self.source["found"]["commit"])
        )

    def runs(self, name: str) -> bool:
        return bool(self.lab.machines().get(name, {}).get("ready"))


@pytest.fixture(scope="module")
def shop(labs: Callable[..., Lab], web: Path) -> Iterator[Shop]:
    lab = labs("docker")
    found = Shop(lab, web)
    lab.reconciler.again(f"--watch={found.dir}")
    yield found
    lab.reconciler.again()
    while names := list(lab.machines()):
        lab.ctl("delete", "machine", *names, "--approve", "--wait")


def instance(shop: Shop, name: str) -> Any:
    return shop.lab.machine(name)["instance"]


def test_a_commit_runs_a_broken_one_does_not_and_a_removed_file_removes(shop: Shop) -> None:
    shop.until_state("empty")
    shop.write("web1", machine("web1", "web", port=shop.port))
    first = commit(shop.dir)
    took = shop.until(lambda: shop.runs("web1"))
    assert "hello from container web1" in fetch(shop.port)
    print(f"from the commit to the page: {took:.1f} s")
    assert (shop.source["state"], shop.source["commit"]) == ("applied", first)
    ran = instance(shop, "web1")

    path = shop.dir / "manifests" / "web1.yaml"
    good = path.read_text()
    path.write_text(good.replace("memory:", "memroy:"))
    bad = commit(shop.dir)
    print(f"until the broken commit is told: {shop.until_state('broken', bad):.1f} s")
    line = good.splitlines().index("  memory: 32Mi") + 1
    told = shop.lab.ctl("describe", "source", NAME).out
    assert f"manifests/web1.yaml:{line}:3: spec.memroy: unknown field" in told
    assert f"manifests/web1.yaml:{line}:3: " in shop.lab.ctl("get", "sources").out
    assert (shop.runs("web1"), instance(shop, "web1")) == (True, ran)
    assert "hello from container web1" in fetch(shop.port)

    git(shop.dir, "revert", "--no-edit", "HEAD")
    shop.until_state("applied", git(shop.dir, "rev-parse", "HEAD"))
    assert instance(shop, "web1") == ran, "nothing was restarted"

    shop.write("web2", machine("web2", "web"))
    commit(shop.dir)
    shop.until(lambda: shop.runs("web2"))
    git(shop.dir, "rm", "-q", "manifests/web2.yaml")
    time.sleep(1)
    assert shop.runs("web2"), "not committed"
    commit(shop.dir)
    print(
        f"from the commit to its end: {shop.until(lambda: 'web2' not in shop.lab.machines()):.1f} s"
    )
    assert instance(shop, "web1") == ran


def test_a_restart_of_the_reconciler_changes_nothing(shop: Shop) -> None:
    before = shop.source, shop.lab.events(), shop.lab.get("machines")[0]["instance"]
    shop.lab.reconciler.again(f"--watch={shop.dir}")
    shop.until_state("applied")
    shop.until(lambda: shop.runs("web1"))
    events = [event for event in shop.lab.events() if event["kind"] == "Source"]
    assert (shop.source, events) == (
        before[0],
        [event for event in before[1] if event["kind"] == "Source"],
    )
    assert shop.lab.get("machines")[0]["instance"] == before[2]


def test_a_branch_with_five_hundred_other_files_waits_for_approval(shop: Shop) -> None:
    for number in range(4):
        shop.write(f"s{number}", machine(f"s{number}", "web", memory="8Mi"))
    commit(shop.dir)
    shop.until(lambda: all(shop.runs(f"s{number}") for number in range(4)))
    git(shop.dir, "checkout", "-q", "-b", "other")
    for number in range(4):
        (shop.dir / "manifests" / f"s{number}.yaml").unlink()
    for number in range(500):
        shop.write(f"i{number}", image(f"i{number}", Path("web.tar")))
    other = commit(shop.dir)
    print(f"until the other branch waits: {shop.until_state('waiting', other):.1f} s")
    assert all(shop.runs(f"s{number}") for number in range(4))
    assert len(shop.lab.get("images")) == 1, "nothing of it is applied"
    git(shop.dir, "checkout", "-q", "main")
    print(f"until back on the branch before: {shop.until_state('applied'):.1f} s")
    git(shop.dir, "checkout", "-q", "other")
    shop.until_state("waiting", other)
    told = shop.lab.ctl("approve", NAME, other[:12], "--yes")
    assert "4 to delete" in told.out
    shop.until(lambda: set(shop.lab.machines()) == {"web1"})
    assert len(shop.lab.get("images")) == 501
    assert shop.source["commit"] == other


def test_a_removed_directory_removes_nothing(shop: Shop) -> None:
    ran = instance(shop, "web1")
    shop.dir.rename(shop.dir.with_name("away"))
    print(f"until it is missed: {shop.until_state('unreadable'):.1f} s")
    assert shop.lab.machine("web1")["instance"] == ran
    shop.dir.with_name("away").rename(shop.dir)
    shop.until_state("applied")
    copy = shop.lab.dir / "copy"
    shutil.copytree(shop.dir, copy)
    shutil.rmtree(shop.dir)
    shop.until_state("unreadable")
    time.sleep(1)
    assert (shop.runs("web1"), instance(shop, "web1")) == (True, ran)
    assert "hello from container web1" in fetch(shop.port)
    copy.rename(shop.dir)
    shop.until_state("applied")


def test_what_is_deleted_by_hand_comes_back(shop: Shop) -> None:
    ran = instance(shop, "web1")
    told = shop.lab.ctl("delete", "machine", "web1").out
    assert "dir:shop will make it again" in told
    took = shop.until(lambda: shop.runs("web1") and instance(shop, "web1") != ran)
    print(f"until it is back: {took:.1f} s")


def test_no_longer_watched(shop: Shop) -> None:
    ran = instance(shop, "web1")
    shop.lab.reconciler.again()
    assert shop.source["state"] == "unwatched"
    shop.until(lambda: shop.runs("web1"))
    assert instance(shop, "web1") == ran
    shop.lab.ctl("delete", "machine", "web1", "--wait")
    assert shop.lab.machines() == {}
