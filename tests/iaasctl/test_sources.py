"""Watched directories on the command line, against the real API and a real directory."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from iaasctl.client import Client
from iaasctl.main import main
from iaasctl.session import Session
from tests.iaasctl.conftest import Ran, Run
from tests.iaasctl.wsgi import WsgiTransport
from tests.reconciler.watch.trees import Watched, commit, node, nodes, repository
from tests.reconciler.world import ADMIN, OPERATOR, World, document, image, machine


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    return tmp_path / "shop"


@pytest.fixture
def watched(world: World, shop: Path) -> Iterator[Watched]:
    found = Watched(world, shop)
    world.deps.sources = found.sources
    found.sources.on_approval(lambda name: found.look())
    yield found
    found.directory.close()


@pytest.fixture
def go(world: World, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("IAAS_TRACEBACK", "1")

    def run(*words: str, token: str = ADMIN) -> Ran:
        client = Client(WsgiTransport(world.app, token), patience=0)
        return Ran(main(list(words), Session(lambda *_: client)), *capfd.readouterr())

    return run


@pytest.fixture
def waits(world: World, watched: Watched, shop: Path) -> str:
    """Five running machines of the directory would go; the digest of what waits."""
    world.upload()
    world.desk.apply([image(), document("Node", "node1", address="a.example:1")])
    nodes(shop, 1)
    for number in range(5):
        (shop / f"m{number}.yaml").write_text(yaml.safe_dump(machine(f"m{number}")))
    watched.look()
    world.place_all()
    for number in range(5):
        (shop / f"m{number}.yaml").unlink()
    watched.look()
    return watched.seen.digest


def test_a_table_of_what_is_watched(go: Run, watched: Watched, shop: Path) -> None:
    repository(shop)
    nodes(shop, 1, 2)
    name = commit(shop)
    watched.look()
    header, line = go("get", "sources").out.splitlines()
    assert header.split() == ["NAME", "STATE", "KIND", "COMMIT", "OBJECTS", "APPLIED", "REASON"]
    assert line.split()[:5] == ["dir:shop", "applied", "git", name[:12], "2"]
    assert str(shop) in go("get", "src", "-o", "wide").out
    assert go("get", "source", "dir:shop", "-o", "name").out == "source/dir:shop\n"
    (found,) = json.loads(go("get", "sources", "-o", "json").out)
    assert (found["commit"], found["objects"]) == (name, 2)
    assert go("get", "source", "dir:other").code == 4


def test_the_errors_with_their_places(go: Run, watched: Watched, shop: Path) -> None:
    nodes(shop, 1)
    (shop / "sub").mkdir()
    (shop / "sub" / "bad.yaml").write_text(node(2).replace("address", "adress"))
    (shop / "more").symlink_to("sub")
    watched.look()
    assert "sub/bad.yaml:5:1: spec.address: missing" in go("get", "sources").out
    told = go("describe", "source", "dir:shop").out
    assert told.startswith("source dir:shop is not ready: broken: sub/bad.yaml:5:1: ")
    errors = told.partition("\nerrors:\n")[2].splitlines()
    assert errors[1] == "sub/bad.yaml:6:3: spec.adress: unknown field; did you mean 'address'?"
    assert "notes:\nmore is a symbolic link to a directory and was not followed\n" in told
    assert " Broken " in told.partition("last events:\n")[2]
    assert "Broken" in go("events", "source/dir:shop").out


def test_approving_shows_what_it_does_and_follows_it(go: Run, watched: Watched, waits: str) -> None:
    told = go("describe", "source", "dir:shop").out
    assert "if it is approved:\n- delete machine m0: no longer in dir:shop\n" in told
    ran = go("approve", "dir:shop")
    assert ran.code == 0, ran
    assert "- delete machine m4: no longer in dir:shop\n5 to delete\n" in ran.out
    assert "dir:shop is in force" in ran.err
    assert watched.objects == {"n1"}
    again = go("approve", "dir:shop")
    assert (again.code, "nothing of dir:shop waits" in again.err) == (5, True)


def test_only_the_named_content_is_approved(go: Run, watched: Watched, waits: str) -> None:
    other = go("approve", "dir:shop", "0" * 12)
    assert (other.code, "something else waits" in other.err) == (5, True)
    assert go("approve", "dir:shop", waits[:6]).code == 5, "too short to tell"
    assert go("approve", "dir:shop", waits[:12]).code == 0


def test_an_operator_may_not_approve(go: Run, watched: Watched, waits: str) -> None:
    assert go("approve", "dir:shop", token=OPERATOR).code == 6
    assert watched.state == "waiting"


def test_what_cannot_be_done_to_a_source(go: Run, watched: Watched, shop: Path) -> None:
    nodes(shop, 1)
    watched.look()
    ran = go("delete", "source", "dir:shop")
    assert (ran.code, "without its --watch" in ran.err) == (2, True)
    assert "dir:shop will make it again" in go("delete", "node", "n1", "--dry-run").out
    (shop.parent / "x.yaml").write_text(node(1).replace("7001", "7002"))
    ran = go("apply", "-f", str(shop.parent / "x.yaml"))
    assert (ran.code, "belongs to dir:shop, not to set:x" in ran.err) == (5, True)
    assert "change it in that watched directory" in ran.err
