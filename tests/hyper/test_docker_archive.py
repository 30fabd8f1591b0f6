"""A docker-archive on its way into the engine: what is refused, and what is left of the rest."""

import io
import json
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from hyper.drivers.docker_archive import ArchiveError, rewritten
from tests.docker_images import Entry, busybox, tar

TAG = "iaas-image:" + "0" * 64
LAYER = ("l/layer.tar", b"layer" * 500)
CONFIG = ("c.json", b'{"config": {}}')
IMAGE = {"Config": "c.json", "RepoTags": ["debian:latest"], "Layers": ["l/layer.tar"]}


def manifest(*images: object) -> tuple[str, bytes]:
    return "manifest.json", json.dumps(images).encode()


GOOD: list[Entry] = [CONFIG, LAYER, manifest(IMAGE)]


def special(name: str, kind: bytes, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def through(path: Path, entries: list[Entry]) -> tarfile.TarFile:
    path.write_bytes(tar(entries))
    return tarfile.open(fileobj=io.BytesIO(b"".join(rewritten(path, TAG))))


def text(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def refusal(path: Path, entries: list[Entry]) -> str:
    path.write_bytes(tar(entries))
    with pytest.raises(ArchiveError) as caught:
        next(rewritten(path, TAG))
    return str(caught.value)


def test_the_only_name_left_is_ours(tmp_path: Path) -> None:
    archive = through(tmp_path / "a", GOOD)

    assert json.loads(text(archive, "manifest.json")) == [IMAGE | {"RepoTags": [TAG]}]
    assert text(archive, "l/layer.tar") == LAYER[1]
    assert text(archive, "c.json") == CONFIG[1]


def test_other_places_for_names_are_dropped(tmp_path: Path) -> None:
    others: list[Entry] = [
        ("repositories", b'{"debian": {"latest": "x"}}'),
        ("./index.json", b"{}"),
        ("oci-layout", b"{}"),
        ("blobs/sha256/abc", b"kept"),
    ]

    archive = through(tmp_path / "a", GOOD + others)

    names = ["manifest.json", "c.json", "l/layer.tar", "blobs/sha256/abc"]
    assert archive.getnames() == names


def test_a_layer_may_be_a_link_to_another_inside(tmp_path: Path) -> None:
    link = special("m/layer.tar", tarfile.SYMTYPE, "../l/layer.tar")
    image = IMAGE | {"Layers": ["l/layer.tar", "m/layer.tar"]}

    archive = through(tmp_path / "a", [CONFIG, LAYER, link, manifest(image)])

    assert archive.getmember("m/layer.tar").linkname == "../l/layer.tar"
    assert text(archive, "m/layer.tar") == LAYER[1]


def test_names_longer_than_a_header_survive(tmp_path: Path) -> None:
    name = "d" * 90 + "/" + "f" * 200

    assert name in through(tmp_path / "a", [*GOOD, (name, b"x")]).getnames()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([CONFIG, LAYER, manifest()], "0 images"),
        ([CONFIG, LAYER, manifest(IMAGE, IMAGE)], "2 images"),
        ([CONFIG, LAYER], "no 'manifest.json'"),
        ([CONFIG, LAYER, ("manifest.json", b"{}")], "not a list"),
        ([CONFIG, LAYER, ("manifest.json", b"[")], "not JSON"),
        ([CONFIG, LAYER, ("manifest.json", b"[" * 100_000)], "not JSON"),
        ([CONFIG, LAYER, ("manifest.json", b"\xff\xfe[]")], "not JSON"),
        ([CONFIG, LAYER, ("manifest.json", b" " * (1 << 20) + b"[]")], "larger than"),
        ([CONFIG, LAYER, manifest("x")], "does not name"),
        ([CONFIG, LAYER, manifest(IMAGE | {"Layers": [1]})], "does not name"),
        ([CONFIG, LAYER, manifest(IMAGE | {"Layers": ["../etc/shadow"]})], "lacks"),
        ([LAYER, manifest(IMAGE)], "lacks 'c.json'"),
        ([CONFIG, manifest(IMAGE)], "lacks 'l/layer.tar'"),
        ([("c.json", b"[]"), LAYER, manifest(IMAGE)], "not an object"),
        ([*GOOD, manifest(IMAGE)], "twice"),
        ([*GOOD, ("./manifest.json", b"[]")], "twice"),
        ([*GOOD, ("l/../manifest.json", b"[]")], "twice"),
        ([*GOOD, ("/etc/passwd", b"x")], "leads out"),
        ([*GOOD, ("../x", b"x")], "leads out"),
        ([*GOOD, ("a/../../x", b"x")], "leads out"),
        ([*GOOD, special("x", tarfile.SYMTYPE, "/etc/shadow")], "leads out"),
        ([*GOOD, special("x", tarfile.SYMTYPE, "../../etc/shadow")], "leads out"),
        ([*GOOD, special("x", tarfile.SYMTYPE, "."), ("x/y", b"")], "below"),
        ([*GOOD, ("c.json/x", b"")], "below"),
        ([*GOOD, special("x", tarfile.LNKTYPE, "c.json")], "neither"),
        ([*GOOD, special("x", tarfile.CHRTYPE)], "neither"),
        ([*GOOD, special("x", tarfile.FIFOTYPE)], "neither"),
        (
            [CONFIG, LAYER, special("manifest.json", tarfile.SYMTYPE, "c.json")],
            "no 'manifest.json'",
        ),
        ([special("c.json", tarfile.SYMTYPE, "d"), LAYER, manifest(IMAGE)], "no 'c.json'"),
    ],
)
def test_what_is_refused(tmp_path: Path, entries: list[Entry], message: str) -> None:
    assert message in refusal(tmp_path / "a", entries)


@pytest.mark.parametrize("data", [b"", b"x" * 10_000, b"\x1f\x8b\x08" + bytes(600), bytes(2048)])
def test_what_is_no_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)

    with pytest.raises(ArchiveError):
        next(rewritten(tmp_path / "a", TAG))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="cannot be read"):
        next(rewritten(tmp_path / "a", TAG))


@pytest.mark.parametrize("left", [600, 3000])
def test_an_archive_cut_short_is_refused(tmp_path: Path, left: int) -> None:
    (tmp_path / "a").write_bytes(tar([manifest(IMAGE), CONFIG, LAYER])[:left])

    with pytest.raises(ArchiveError):
        next(rewritten(tmp_path / "a", TAG))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_wants_gigabytes_gets_none(tmp_path: Path, kind: bytes) -> None:
    size = 4 << 30
    with (tmp_path / "a").open("wb") as file:
        file.write(special("x", kind, size=size).tobuf())
        file.truncate(size + 4096)  # sparse: it takes no space

    tracemalloc.start()
    with pytest.raises(ArchiveError, match="too large"):
        next(rewritten(tmp_path / "a", TAG))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 20 << 20


def test_a_large_image_takes_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        layer = special("l/layer.tar", tarfile.REGTYPE, size=200 << 20)
        file.write(tar([CONFIG, manifest(IMAGE)])[: 4 * 512] + layer.tobuf())
        file.truncate(file.tell() + layer.size + 1024)

    tracemalloc.start()
    size = sum(map(len, rewritten(tmp_path / "a", TAG)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size > 200 << 20
    assert peak < 4 << 20


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    many = b"".join(special(str(i), tarfile.REGTYPE).tobuf() for i in range(20_001))
    (tmp_path / "a").write_bytes(many + bytes(1024))

    with pytest.raises(ArchiveError, match="more than"):
        next(rewritten(tmp_path / "a", TAG))


def test_a_real_image_is_unchanged_but_for_its_name(tmp_path: Path) -> None:
    busybox(tmp_path / "a", tags=["debian:latest"])

    clean = io.BytesIO(b"".join(rewritten(tmp_path / "a", TAG)))

    with tarfile.open(tmp_path / "a") as before, tarfile.open(fileobj=clean) as archive:
        kept = [name for name in before.getnames() if name != "manifest.json"]
        assert archive.getnames() == ["manifest.json", *kept]
        assert all(text(archive, name) == text(before, name) for name in kept)
