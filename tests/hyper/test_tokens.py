"""Token files: made at first use, whole for whoever comes second, refused where others can read."""

import os
import pwd
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from manifests.tokens import TokenError, token_from


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "token"


def test_the_first_makes_it_and_the_next_reads_it(path: Path) -> None:
    token = token_from(path)
    assert len(token) >= 40
    assert token_from(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["token"]


def test_every_file_has_another(path: Path) -> None:
    assert token_from(path) != token_from(path.with_name("other"))


def test_all_who_start_at_once_have_the_same(path: Path) -> None:
    start = Barrier(8)

    def first(number: int) -> str:
        start.wait()
        return token_from(path.with_name(f"token{number}"))

    with ThreadPoolExecutor(8) as pool:
        for number in range(50):
            assert len(set(pool.map(first, [number] * 8))) == 1
    assert len(list(path.parent.iterdir())) == 50


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_file_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    token_from(path)
    path.chmod(mode)
    with pytest.raises(TokenError, match=f"can be read by others; run: chmod 600 {path}"):
        token_from(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_refused(path: Path) -> None:
    token = token_from(path)
    os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(TokenError, match=f"^{path} belongs to another user.*remove it") as error:
        token_from(path)
    assert token not in str(error.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_root_is_fine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = token_from(path)
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam("nobody").pw_uid)
    assert token_from(path) == token


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"short", b"with a \x07 bell in its middle", "ä".encode() * 20, b"\xff" * 40],
)
def test_a_file_without_a_token_is_refused_and_kept(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(TokenError, match="holds no token; remove it and a new one is made"):
        token_from(path)
    assert path.read_bytes() == content


def test_a_token_with_a_newline_is_the_token(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("0123456789abcdef\n")
    path.chmod(0o600)
    assert token_from(path) == "0123456789abcdef"


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    for _ in range(2):  # at nothing, and at a good token
        with pytest.raises(TokenError, match="cannot read"):
            token_from(path)
        assert path.is_symlink()
        token_from(tmp_path / "elsewhere")


def test_a_directory_is_no_token(path: Path) -> None:
    path.mkdir(parents=True, mode=0o700)
    with pytest.raises(TokenError, match=f"cannot read {path}: Is a directory"):
        token_from(path)


def test_no_token_is_in_the_complaint(path: Path) -> None:
    token = token_from(path)
    path.chmod(0o644)
    with pytest.raises(TokenError) as error:
        token_from(path)
    assert token not in str(error.value)
