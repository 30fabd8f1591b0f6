"""The store's file: durable, private, exclusive, of a known version."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.store import (
    Store,
    StoreError,
    StoreFull,
    StoreLocked,
)
from reconciler.store.migrations import STEPS
from tests.reconciler.stores import filled
from tests.reconciler.world import create, machine, uid


def test_the_files_are_private_and_a_second_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state" / "db"
    store = Store(path)
    store.submit([create(1, machine("web"))], revision=1)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    code = f"from reconciler.store import Store; Store({str(path)!r})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 1
    assert f"StoreLocked: {path} is in use by another process; stop it first" in found.stderr
    store.close()
    again = Store(path)
    assert ("Machine", "web") in again.snapshot().objects
    again.close()


def test_the_same_file_cannot_be_opened_twice_in_one_process(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    with pytest.raises(StoreLocked):
        Store(tmp_path / "db")
    store.close()


def test_the_cluster_id_is_made_once(tmp_path: Path) -> None:
    first = Store(tmp_path / "db")
    cluster = first.cluster
    first.close()
    second = Store(tmp_path / "db")
    assert (second.cluster, second.term) == (cluster, 0)
    second.close()
    assert Store().cluster != cluster
    assert Store(cluster=uid(5)).cluster == uid(5)


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    store.close()
    with sqlite3.connect(tmp_path / "db") as connection:
        connection.execute("INSERT INTO migration VALUES (?)", [len(STEPS) + 1])
    connection.close()
    with pytest.raises(StoreError, match="newer version of this program"):
        Store(tmp_path / "db")
    with pytest.raises(StoreError, match="newer version of this program"):  # the lock was let go
        Store(tmp_path / "db")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        Store(tmp_path / "db")


def test_a_place_that_cannot_be_written_is_refused_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"Not a directory|File exists"):
        Store(tmp_path / "file" / "db")


WRITER = """
import sys
from reconciler.store import Store
from tests.reconciler.world import create, machine
store = Store(sys.argv[1])
number = revision = store.snapshot().revision
while True:
    number += 1
    revision = store.submit([create(number, machine(f"m{number}"))], revision=revision)
    print(number, flush=True)
"""


def test_nothing_that_was_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    for round_ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "db")],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as process:
            assert process.stdout is not None
            for _ in range(10 + 7 * round_):
                acknowledged.add(f"m{process.stdout.readline().strip()}")
            os.kill(process.pid, signal.SIGKILL)
            acknowledged |= {f"m{line.strip()}" for line in process.stdout if line.endswith("\n")}
        store = Store(tmp_path / "db")
        names = {name for _, name in store.snapshot().objects}
        assert acknowledged <= names
        assert len(names - acknowledged) <= round_ + 1  # the one in flight, each time
        store.close()


def test_a_full_disk_is_not_acknowledged_and_heals() -> None:
    store, revision = filled(machine("web"))
    ((pages,),) = store.database.sql("PRAGMA page_count")
    store.database.sql(f"PRAGMA max_page_count = {pages}")
    many = [create(number, machine(f"m{number}", env={"A": "x" * 5000})) for number in range(2, 50)]
    with pytest.raises(StoreFull, match="no room on the disk; nothing was stored"):
        store.submit(many, revision=revision)
    assert not store.failure
    assert Store(store.database).snapshot() == store.snapshot()
    store.database.sql("PRAGMA max_page_count = 1000000")
    assert store.submit(many, revision=revision) == revision + 1


WRITES = """
import sys
from reconciler.store import Store, StoreError
from tests.reconciler.world import create, machine
store = Store(sys.argv[1])
for number in range(1, 60):
    try:
        revision = store.snapshot().revision
        store.submit([create(number, machine(f"m{number}"))], revision=revision)
        print(f"m{number}")
    except StoreError as error:
        print(type(error).__name__, error, file=sys.stderr)
print(bool(store.failure))
"""


def with_a_bad_disk(path: Path, inject: str) -> tuple[set[str], bool, list[str]]:
    """Names acknowledged by a process that submits, whether it gave up, and what it was told."""
    call = inject.split(":")[0]
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
    found = subprocess.run(
        [*strace, "-e", f"inject={inject}", sys.executable, "-c", WRITES, str(path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert found.returncode == 0, found.stderr
    *names, failed = found.stdout.splitlines()
    return set(names), failed == "True", found.stderr.splitlines()


def names_in(path: Path) -> set[str]:
    store = Store(path)
    names = {name for _, name in store.snapshot().objects}
    store.close()
    return names


needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace makes the disk fail")


@needs_strace
def test_a_disk_that_fails_is_not_acknowledged_and_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "db"
    acknowledged, failed, told = with_a_bad_disk(path, "fdatasync:error=EIO:when=20")
    assert 5 < len(acknowledged) < 20
    assert failed
    assert len(told) == 59 - len(acknowledged)
    assert all(line.startswith("StoreFailed") for line in told)
    assert "disk I/O error (SQLITE_IOERR_FSYNC)" in told[0]
    # The one whose fsync failed may be there after all: it was not acknowledged, nor denied.
    assert acknowledged <= names_in(path)
    assert len(names_in(path)) <= len(acknowledged) + 1


@needs_strace
def test_a_disk_that_was_full_for_a_while_heals(tmp_path: Path) -> None:
    path = tmp_path / "db"
    acknowledged, failed, told = with_a_bad_disk(path, "pwrite64:error=ENOSPC:when=150..170")
    assert not failed
    assert told
    assert all(line.startswith("StoreFull") for line in told)
    assert "m59" in acknowledged
    assert names_in(path) == acknowledged
