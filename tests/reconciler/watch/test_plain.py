"""Reading a plain directory: all of it, nothing from outside, nothing that cannot be read passed over."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from reconciler.watch import plain
from reconciler.watch.found import Found, Stopped, Unreadable
from tests.reconciler.watch.trees import nodes


def read(path: Path) -> Found:
    return plain.read(str(path), lambda: False)


def names(found: Found) -> list[str]:
    return [name for name, _ in found.files]


def complaints(found: Found) -> list[str]:
    return [str(problem) for problem in found.problems]


def test_manifests_below_it_in_order_and_nothing_else(tmp_path: Path) -> None:
    nodes(tmp_path / "b", 1)
    nodes(tmp_path, 2)
    nodes(tmp_path / ".git", 3)
    nodes(tmp_path / ".hidden", 4)
    (tmp_path / "README.md").write_text("no manifest")
    (tmp_path / ".n5.yaml.swp").write_text("of an editor")
    (tmp_path / "n2.yaml~").write_text("of an editor")
    (tmp_path / "a.json").write_text("{}")
    found = read(tmp_path)
    assert names(found) == ["a.json", "b/n1.yaml", "n2.yaml"]
    assert (found.problems, found.notes, found.commit) == ((), (), "")


def test_the_digest_is_of_names_and_bytes(tmp_path: Path) -> None:
    nodes(tmp_path, 1, 2)
    first = read(tmp_path).digest
    (tmp_path / "README.md").write_text("other")
    os.utime(tmp_path / "n1.yaml", (1, 1))
    assert read(tmp_path).digest == first
    (tmp_path / "n2.yaml").rename(tmp_path / "n3.yaml")
    renamed = read(tmp_path).digest
    (tmp_path / "n1.yaml").write_text("# more")
    assert len({first, renamed, read(tmp_path).digest}) == 3


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    nodes(tmp_path / "..2026", 1)
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "n1.yaml").symlink_to("..data/n1.yaml")
    found = read(tmp_path)
    assert (names(found), complaints(found)) == (["n1.yaml"], [])


@pytest.mark.parametrize("target", ["../outside/n1.yaml", "../shop-else/n1.yaml", "/etc/hostname"])
def test_a_link_that_leads_out_is_a_problem(tmp_path: Path, target: str) -> None:
    nodes(tmp_path / "outside", 1)
    nodes(tmp_path / "shop-else", 1)
    nodes(tmp_path / "shop", 2)
    (tmp_path / "shop" / "link.yaml").symlink_to(target)
    assert complaints(read(tmp_path / "shop")) == [
        "link.yaml:1:1: is a symbolic link that leads out of the directory, and is not followed;"
        " put the file itself there"
    ]


def test_a_link_to_a_directory_is_noted(tmp_path: Path) -> None:
    nodes(tmp_path / "outside", 1)
    nodes(tmp_path / "shop", 2)
    (tmp_path / "shop" / "more").symlink_to("../outside")
    (tmp_path / "shop" / "self").symlink_to(".")
    found = read(tmp_path / "shop")
    assert names(found) == ["n2.yaml"]
    assert found.notes == (
        "more is a symbolic link to a directory and was not followed",
        "self is a symbolic link to a directory and was not followed",
    )


def test_a_link_to_nothing_and_what_is_no_file_are_problems(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("nothing")
    (tmp_path / "b.yaml").symlink_to("b.yaml")
    os.mkfifo(tmp_path / "c.yaml")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "d.yaml"))
        found = complaints(read(tmp_path))
    assert found[0] == "a.yaml:1:1: is a symbolic link to nothing; remove it"
    assert found[1].startswith("b.yaml:1:1: ")
    assert found[2] == "c.yaml:1:1: is not a regular file; for a pipe use -"
    assert found[3].startswith("d.yaml:1:1: cannot be read: ")


def test_a_file_that_is_too_large_is_a_problem(tmp_path: Path) -> None:
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate(17 << 20)
    assert complaints(read(tmp_path)) == [
        "a.yaml:1:1: is larger than 16 MiB; split it into several files"
    ]


def test_names_that_cannot_be_printed(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff\n.yaml")).write_text("")
    ((name, _),) = read(tmp_path).files
    assert name.isprintable()


def test_what_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nothing")
    for name, said in {
        "file": "it is not a directory",
        "none": "there is no such directory",
        "link": "there is no such directory",
        "file/below": "it cannot be read: Not a directory",
    }.items():
        with pytest.raises(Unreadable, match=said):
            read(tmp_path / name)


def test_a_directory_replaced_meanwhile_is_not_believed(tmp_path: Path) -> None:
    nodes(tmp_path / "one", 1, 2)
    (tmp_path / "shop").symlink_to("one")

    def replaced() -> bool:
        (tmp_path / "new").symlink_to("two")
        nodes(tmp_path / "two", 3)
        (tmp_path / "new").rename(tmp_path / "shop")
        return False

    with pytest.raises(Unreadable, match="replaced while it was read"):
        plain.read(str(tmp_path / "shop"), replaced)


def test_reading_ends_with_the_program(tmp_path: Path) -> None:
    nodes(tmp_path, 1)
    with pytest.raises(Stopped):
        plain.read(str(tmp_path), lambda: True)


AS_NOBODY = """
import sys
from reconciler.watch import plain
try:
    for problem in plain.read(sys.argv[1], lambda: False).problems:
        print(problem)
except plain.Unreadable as error:
    print("unreadable:", error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_must_not_be_read_is_a_problem() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        shop = Path(folder)
        shop.chmod(0o755)
        nodes(shop, 1, 2)
        nodes(shop / "sub", 3)
        (shop / "n1.yaml").chmod(0o600)
        (shop / "sub").chmod(0o700)

        def said() -> list[str]:
            done = subprocess.run(
                [sys.executable, "-c", AS_NOBODY, folder],
                user=65534,
                capture_output=True,
                text=True,
                cwd=Path(__file__).parents[3],
                check=True,
            )
            return done.stdout.splitlines()

        assert said() == [
            "n1.yaml:1:1: cannot be read: Permission denied",
            "sub:1:1: cannot be read: Permission denied",
        ]
        shop.chmod(0o700)
        assert said() == ["unreadable: it cannot be read: Permission denied"]
