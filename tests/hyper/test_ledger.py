"""What the agent must not forget is on disk before it is relied on, whole or not at all."""

import json
import os
import resource
import stat
from pathlib import Path

import pytest

from hyper.ledger import Entry, FileLedger, LedgerError, with_halted
from tests.hyper.making import assignment, placement, port, uid

FULL = Entry(
    assignment=assignment(
        placement(ports=(port("80:80"),), env={"A": "ä"}, command=("run",)),
        generation=7,
        leaving=[("old", 3)],
    ),
    halted=(uid("web"),),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.json"


def test_without_a_file_there_is_nothing(path: Path) -> None:
    assert FileLedger(path).entry == Entry()
    assert not path.exists()


def test_what_is_saved_is_there_for_the_next(path: Path) -> None:
    ledger = FileLedger(path)
    ledger.save(FULL)
    assert ledger.entry == FULL
    assert FileLedger(path).entry == FULL
    assert [file.name for file in path.parent.iterdir()] == ["ledger.json"]


def test_only_its_owner_reads_it(path: Path) -> None:
    FileLedger(path).save(FULL)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_is_replaced_never_written_into(path: Path) -> None:
    """Whoever reads at any time, and whoever loses power at any time, has the old or the new."""
    ledger = FileLedger(path)
    ledger.save(Entry())
    before = path.stat().st_ino
    with path.open() as old:
        ledger.save(FULL)
        assert json.loads(old.read()) == {}
    assert path.stat().st_ino != before


def test_it_is_on_the_disk_before_it_has_its_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes first, then the name, then the directory: seen at the system calls."""
    calls: list[str] = []

    def synced(descriptor: int) -> None:
        directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append("fsync directory" if directory else "fsync file")
        assert directory == (path.exists())

    replace = os.replace
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), replace(a, b)))
    FileLedger(path).save(FULL)
    assert calls == ["fsync file", "rename", "fsync directory"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"assignment": {}}', b'{"surprise": 1}', b"\xff\xfe\x00", b"\0" * 100],
)
def test_a_damaged_file_is_refused_with_what_to_do(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LedgerError) as error:
        FileLedger(path)
    assert str(error.value).startswith(f"cannot read {path}: ")
    assert "remove it when no machine of this node is to be kept" in str(error.value)
    assert path.read_bytes() == content


def test_what_an_agent_that_died_left_half_written_is_nothing(path: Path) -> None:
    FileLedger(path).save(FULL)
    path.with_suffix(".tmp").write_text('{"assignm')
    ledger = FileLedger(path)
    assert ledger.entry == FULL
    ledger.save(Entry())
    assert FileLedger(path).entry == Entry()


def test_where_it_cannot_be_written_the_old_one_stays(path: Path) -> None:
    ledger = FileLedger(path)
    ledger.save(FULL)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))  # as a disk that fills up midway
    try:
        with pytest.raises(LedgerError) as error:
            ledger.save(with_halted(FULL, "x", True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(error.value) == f"cannot write {path}: File too large"
    assert ledger.entry == FULL
    assert FileLedger(path).entry == FULL
    assert [file.name for file in path.parent.iterdir()] == ["ledger.json"]


def test_where_there_is_no_directory(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "ledger.json"
    with pytest.raises(LedgerError, match=r"cannot write .*: No such file or directory"):
        FileLedger(path).save(FULL)


def test_halted_has_each_machine_once() -> None:
    entry = with_halted(with_halted(Entry(), "a", True), "a", True)
    assert entry.halted == ("a",)
    assert with_halted(entry, "b", True).halted == ("a", "b")
    assert with_halted(entry, "a", False).halted == ()
    assert with_halted(entry, "c", False) == entry
