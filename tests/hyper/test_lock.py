"""One agent per state directory, whatever became of the one before."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from hyper.lock import AlreadyRunning, NotPrivate, hold

HOLDER = """
import sys
from pathlib import Path
from hyper.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(state: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_directory_is_made(tmp_path: Path) -> None:
    with hold(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()


def test_a_second_one_is_refused_and_told_what_to_do(tmp_path: Path) -> None:
    with (
        hold(tmp_path),
        pytest.raises(AlreadyRunning, match=f"another hyper uses {tmp_path}; stop it"),
        hold(tmp_path),
    ):
        pass


def test_after_the_first_has_ended_the_next_may(tmp_path: Path) -> None:
    with hold(tmp_path):
        pass
    with hold(tmp_path):
        pass


def test_other_directories_are_free(tmp_path: Path) -> None:
    with hold(tmp_path / "a"), hold(tmp_path / "b"):
        pass


def test_another_process_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(AlreadyRunning), hold(tmp_path):
            pass
    finally:
        process.kill()
        process.communicate()
    with hold(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(NotPrivate, match=f"^{tmp_path} belongs to another user"), hold(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o1777, 0o770])
def test_a_directory_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(NotPrivate, match=f"run: chmod go-w {tmp_path}$"), hold(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o755])
def test_a_directory_that_others_can_only_look_at_is_fine(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with hold(tmp_path):
        pass
