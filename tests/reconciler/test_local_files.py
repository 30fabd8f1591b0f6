"""Images from files of the controller's own host: only from directories that its operator allowed."""

import hashlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manifests.kinds.image import ImageSpec
from reconciler.images import library as library_module
from reconciler.images import local
from reconciler.submit import Invalid
from tests.reconciler.world import World, document

DATA = os.urandom(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
OUTSIDE = "is in none of the directories that images are taken from"


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    root = tmp_path / "srv"
    (root / "deep").mkdir(parents=True)
    (root / "disk.img").write_bytes(DATA)
    return root


@pytest.fixture
def world(tmp_path: Path, allowed: Path) -> World:
    return World(tmp_path, image_sources=[allowed])


def image(path: Path | str, **spec: Any) -> dict[str, Any]:
    return document(
        "Image", "disk", **{"type": "libvirt", "format": "raw", "file": str(path)} | spec
    )


def post(world: World, data: dict[str, Any], **query: str) -> tuple[int, Any]:
    answer = world.client().post("/iaas/apply", json={"documents": [data]}, params=query)
    return answer.status_code, answer.json()


def fault(world: World, data: dict[str, Any]) -> dict[str, Any]:
    """The only one; nothing is stored and nothing is left of the file."""
    before = sorted(world.library.root.iterdir())
    status, body = post(world, data)
    assert (status, len(body["faults"])) == (422, 1), body
    assert sorted(world.library.root.iterdir()) == before
    assert world.store.snapshot().get("Image", "disk") is None
    found: dict[str, Any] = body["faults"][0]
    return found


def stored(world: World) -> ImageSpec:
    item = world.store.snapshot().get("Image", "disk")
    assert item is not None
    assert item.size == len(DATA)
    return item.image


def test_a_file_in_an_allowed_directory_becomes_an_image(world: World, allowed: Path) -> None:
    assert post(world, image(allowed / "disk.img"))[0] == 200
    assert stored(world).sha256 == SHA256
    assert stored(world).file == str(allowed / "disk.img")
    assert [file.name for file in world.library.root.iterdir()] == [SHA256]
    assert world.library.path(SHA256).read_bytes() == DATA
    assert post(world, image(allowed / "disk.img"))[1]["changed"] == 0


def test_a_file_deeper_down(world: World, allowed: Path) -> None:
    (allowed / "disk.img").rename(allowed / "deep" / "disk.img")
    assert post(world, image(allowed / "deep" / "disk.img", sha256=SHA256))[0] == 200
    assert stored(world).sha256 == SHA256


def test_a_plan_needs_the_bytes_too_and_changes_nothing(world: World, allowed: Path) -> None:
    status, body = post(world, image(allowed / "disk.img"), dryRun="true")
    assert (status, body["changed"]) == (200, 1)
    assert world.store.snapshot().get("Image", "disk") is None


def test_a_file_that_has_changed_becomes_another_image(world: World, allowed: Path) -> None:
    post(world, image(allowed / "disk.img"))
    (allowed / "disk.img").write_bytes(DATA[::-1])
    assert post(world, image(allowed / "disk.img"))[1]["changed"] == 1
    assert stored(world).sha256 == hashlib.sha256(DATA[::-1]).hexdigest()


def test_a_file_that_has_not_changed_is_not_read_again(
    world: World, allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(world, image(allowed / "disk.img"))
    monkeypatch.setattr(local.LocalFiles, "_found", None)
    monkeypatch.setattr(library_module.Library, "copy", None)
    assert post(world, image(allowed / "disk.img"))[1]["changed"] == 0


def test_after_a_restart_a_file_that_is_here_needs_no_room(
    world: World, allowed: Path, tmp_path: Path
) -> None:
    post(world, image(allowed / "disk.img"))
    world.library.close()
    again = World(tmp_path, world.store, image_sources=[allowed])
    again.library.room.reserve = 1 << 60
    assert post(again, image(allowed / "disk.img"))[1]["changed"] == 0


def test_a_promised_digest_is_checked(world: World, allowed: Path) -> None:
    data = image(allowed / "disk.img", sha256="a" * 64)
    status, body = post(world, data)
    assert (status, body["faults"][0]["path"]) == (422, ["spec", "sha256"])
    assert SHA256 in body["faults"][0]["message"]


def test_the_format_is_checked(world: World, allowed: Path) -> None:
    status, body = post(world, image(allowed / "disk.img", format="qcow2"))
    assert (status, body["faults"][0]["path"]) == (422, ["spec", "format"])


def test_a_file_whose_bytes_are_here_is_not_opened(world: World) -> None:
    world.upload(DATA)
    for path in ("/etc/shadow", "/nowhere/at/all", "relative"):
        assert post(world, image(path, sha256=SHA256))[0] == 200
        assert stored(world).file == path


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "/no/such/file",
        "/",
        "{srv}",
        "{srv}/",
        "{srv}/../secret",
        "{srv}/deep/../../secret",
        "{srv}/deep/../disk.img",
        "{srv}/./disk.img",
        "{srv}//disk.img",
        "/{srv}/disk.img",
        "{srv}2/disk.img",
        "{srv}/disk.img/",
        "{srv}/.git/config",
        "{srv}/deep/.hidden",
        "/proc/self/environ",
    ],
)
def test_any_other_path_is_refused_whether_it_exists_or_not(
    world: World, allowed: Path, path: str
) -> None:
    (allowed.parent / "secret").write_bytes(b"secret")
    (allowed / ".git").mkdir()
    for hidden in (allowed / ".git" / "config", allowed / "deep" / ".hidden"):
        hidden.write_bytes(DATA)
    (allowed.parent / "srv2").mkdir()
    (allowed.parent / "srv2" / "disk.img").write_bytes(b"secret")
    found = fault(world, image(path.format(srv=allowed)))
    assert (found["path"], found["message"]) == (
        ["spec", "file"],
        f"{path.format(srv=allowed)} {OUTSIDE}",
    )
    assert "--image-source" in found["hint"]


def test_without_the_option_no_file_is_allowed(tmp_path: Path, allowed: Path) -> None:
    assert OUTSIDE in fault(World(tmp_path), image(allowed / "disk.img"))["message"]


def test_a_relative_path_is_for_iaasctl_to_read(world: World) -> None:
    found = fault(world, image("disk.img"))
    assert (found["path"], found["message"]) == (["spec", "sha256"], "missing")


def link_to_file(allowed: Path) -> Path:
    (allowed / "link").symlink_to(allowed / "disk.img")
    return allowed / "link"


def link_to_directory(allowed: Path) -> Path:
    (allowed / "link").symlink_to(allowed.parent)
    (allowed.parent / "secret").write_bytes(b"secret")
    return allowed / "link" / "secret"


def link_within(allowed: Path) -> Path:
    (allowed / "link").symlink_to("deep")
    (allowed / "disk.img").rename(allowed / "deep" / "disk.img")
    return allowed / "link" / "disk.img"


def directory(allowed: Path) -> Path:
    return allowed / "deep"


def fifo(allowed: Path) -> Path:
    os.mkfifo(allowed / "fifo")
    return allowed / "fifo"


def device(allowed: Path) -> Path:
    try:
        os.mknod(allowed / "zero", 0o20666, os.makedev(1, 5))
    except OSError:
        pytest.skip("needs to make a device")
    return allowed / "zero"


def unix_socket(allowed: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(allowed)
        listening.bind("socket")
    return allowed / "socket"


def missing(allowed: Path) -> Path:
    return allowed / "missing"


def below_a_file(allowed: Path) -> Path:
    return allowed / "disk.img" / "x"


def too_long(allowed: Path) -> Path:
    return allowed / ("x" * 300)


@pytest.mark.parametrize(
    "kind",
    [
        link_to_file,
        link_to_directory,
        link_within,
        directory,
        fifo,
        device,
        unix_socket,
        missing,
        below_a_file,
        too_long,
    ],
)
def test_what_is_allowed_but_no_plain_file_is_refused_and_says_why(
    world: World, allowed: Path, kind: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(allowed)
    path = kind(allowed)
    found = fault(world, image(path))
    assert found["path"] == ["spec", "file"]
    assert found["message"].startswith(f"{path} cannot be read: ")


def test_a_path_that_is_swapped_while_it_is_opened_leads_nowhere_else(
    world: World, allowed: Path
) -> None:
    """A directory becomes a link to another and back, as fast as can be."""
    outside = allowed.parent / "outside"
    outside.mkdir()
    (outside / "disk.img").write_bytes(b"secret")
    (allowed / "disk.img").rename(allowed / "deep" / "disk.img")
    (allowed / "evil").symlink_to(outside)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (allowed / "deep").rename(allowed / "aside")
            (allowed / "evil").rename(allowed / "deep")
            (allowed / "deep").rename(allowed / "evil")
            (allowed / "aside").rename(allowed / "deep")

    swapping = threading.Thread(target=swap)
    swapping.start()
    files = local.LocalFiles(world.library, [allowed])
    found = set()
    for _ in range(300):
        try:
            found.add(files.take(str(allowed / "deep" / "disk.img")))
        except local.Unreadable:
            found.add("refused")
    stop.set()
    swapping.join()
    assert found <= {SHA256, "refused"}


def test_a_sparse_file_larger_than_the_disk_is_refused_unread(world: World, allowed: Path) -> None:
    os.truncate(allowed / "disk.img", 1 << 43)
    status, body = post(world, image(allowed / "disk.img"))
    assert (status, body["error"]) == (507, "no_room")
    assert list(world.library.root.iterdir()) == []


def test_a_second_file_waits_and_is_then_told_to_come_back(
    world: World, allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "PATIENCE", 0.05)
    with world.desk._intake._files._one_at_a_time():
        status, body = post(world, image(allowed / "disk.img"))
    assert (status, body["message"]) == (429, "other files are being read; try again")


def test_one_submission_may_allow_more_directories(tmp_path: Path, allowed: Path) -> None:
    """As a watched directory does for what lies below it."""
    world = World(tmp_path)
    world.desk.apply([image(allowed / "disk.img")], image_sources=[allowed])
    assert stored(world).sha256 == SHA256
    (allowed / "disk.img").write_bytes(b"changed")
    with pytest.raises(Invalid):
        world.desk.apply([image(allowed / "disk.img")])


def test_the_labs_way_to_add_an_image(world: World, allowed: Path) -> None:
    data = {"name": "disk", "type": "libvirt", "format": "raw", "file": str(allowed / "disk.img")}
    answer = world.client().post("/iaas/images", json=data)
    assert (answer.status_code, answer.json()["sha256"]) == (201, SHA256)
    assert stored(world).sha256 == SHA256
    refused = world.client().post("/iaas/images", json=data | {"name": "b", "file": "/etc/shadow"})
    assert (refused.status_code, refused.json()["faults"][0]["path"]) == (422, ["file"])
