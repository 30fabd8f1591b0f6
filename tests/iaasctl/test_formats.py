"""What an image file is taken for, and what is refused before anything is sent."""

from pathlib import Path

import pytest

from iaasctl.errors import Invalid
from iaasctl.formats import declared, verify
from manifests.kinds.image import ImageFormat


@pytest.mark.parametrize(
    ("name", "type_", "format_", "expected"),
    [
        ("web.tar", None, None, "docker docker-archive"),
        ("WEB.TAR", None, None, "docker docker-archive"),
        ("debian.qcow2", None, None, "libvirt qcow2"),
        ("jammy-server-cloudimg-amd64.img", None, None, "libvirt qcow2"),
        ("disk.raw", "libvirt", None, "libvirt raw"),
        ("disk", None, "raw", "libvirt raw"),
        ("disk.img", None, "raw", "libvirt raw"),
        ("saved", "docker", None, "docker docker-archive"),
        ("saved.tar.1", None, "docker-archive", "docker docker-archive"),
        ("https://example.org/a/debian.qcow2", None, None, "libvirt qcow2"),
    ],
)
def test_declared(name: str, type_: str | None, format_: str | None, expected: str) -> None:
    assert " ".join(declared(name, type_, format_)) == expected


@pytest.mark.parametrize(
    ("name", "type_", "format_", "words"),
    [
        ("disk.iso", None, None, "--format"),
        ("disk", "libvirt", None, "--format"),
        (".qcow2", None, None, "--format"),
        ("web.tar.gz", None, None, "unpack it first"),
        ("disk.qcow2.xz", None, None, "unpack it first"),
        ("disk.qcow2", "docker", None, "libvirt takes qcow2"),
        ("web.tar", "libvirt", None, "libvirt takes qcow2"),
        ("web.tar", "docker", "raw", "libvirt takes qcow2"),
        ("web.tar", "podman", None, "there are docker, libvirt"),
        ("web.tar", None, "ova", "there are docker-archive"),
    ],
)
def test_undeclared(name: str, type_: str | None, format_: str | None, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        declared(name, type_, format_)
    assert words in caught.value.fix


@pytest.mark.parametrize("format_", ["docker-archive", "qcow2"])
def test_other_bytes_than_declared_are_told_with_the_way_out(tmp_path: Path, format_: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"nothing known" * 1000)
    with pytest.raises(Invalid, match=f"{path} is not a") as caught:
        verify(path, ImageFormat(format_))
    assert "--format" in caught.value.fix
    verify(path, ImageFormat.RAW)


def test_an_empty_disk_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(Invalid, match="is empty"):
        verify(tmp_path / "x", ImageFormat.RAW)
