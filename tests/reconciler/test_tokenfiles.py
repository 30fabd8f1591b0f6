"""The tokens of the roles in their files: made once, replaced at any time, and broken ones let nobody in."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from manifests.tokens import TokenError
from reconciler.api import tokenfiles
from reconciler.api.auth import Tokens
from reconciler.api.roles import PEOPLE, Role
from reconciler.api.tokenfiles import NAMES, TokenFile, token_files


def tokens_in(directory: Path) -> dict[Role, str]:
    return {role: (directory / NAMES[role]).read_text().strip() for role in PEOPLE}


def test_each_role_has_a_private_file_of_its_own_made_once(tmp_path: Path) -> None:
    tokens = Tokens(token_files(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "operator.token",
        "token",
        "viewer.token",
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    made = tokens_in(tmp_path)
    assert len(set(made.values())) == 3
    for role, token in made.items():
        assert tokens.role(f"Bearer {token}")[0] is role
    token_files(tmp_path)
    assert tokens_in(tmp_path) == made


def _replace(path: Path, content: str) -> None:
    new = path.with_name("new")
    new.write_text(content)
    new.chmod(0o600)
    new.rename(path)


def _overwrite(path: Path, content: str) -> None:
    path.write_text(content)


@pytest.mark.parametrize("change", [_replace, _overwrite])
def test_another_token_counts_at_once_and_the_old_one_no_more(
    tmp_path: Path, change: Callable[[Path, str], None]
) -> None:
    """Also in the same moment, when neither size nor time stamp of the file can tell."""
    path = tmp_path / "token"
    file = TokenFile(path)
    tokens, old = Tokens({Role.ADMIN: file}), file()
    for number in range(200):
        new = f"{number:043}"
        change(path, new + "\n")
        assert file() == new
        assert tokens.role(f"Bearer {new}")[0] is Role.ADMIN
        assert tokens.role(f"Bearer {old}")[0] is Role.ANYBODY
        old = new


def test_a_change_within_a_tick_of_the_clock_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems stamp with the time of the last tick: same inode, size and times, other content."""
    path = tmp_path / "token"
    file = TokenFile(path)
    found = path.stat()
    same = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    monkeypatch.setattr(tokenfiles, "_state", lambda _: same)
    for content in ("a" * 43, "b" * 43):
        _overwrite(path, content)
        assert file() == content


def test_a_settled_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs a look at its directory entry, however many ask."""
    path = tmp_path / "token"
    file = TokenFile(path, lambda: path.stat().st_ctime + 10)
    _overwrite(path, "c" * 43)
    assert file() == "c" * 43
    monkeypatch.setattr("reconciler.api.tokenfiles.read_token", None)
    assert file() == "c" * 43


@pytest.mark.parametrize(
    ("breaking", "complaint"),
    [
        (Path.unlink, "there is no"),
        (lambda path: path.chmod(0o644), "can be read by others"),
        (lambda path: path.write_text(""), "holds no token"),
        (lambda path: path.write_text("short"), "holds no token"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
        (lambda path: (path.unlink(), path.symlink_to("other")), "cannot read"),
    ],
    ids=["missing", "open", "empty", "short", "directory", "link"],
)
def test_a_broken_file_lets_nobody_in_and_is_complained_of_once(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    breaking: Callable[[Path], object],
    complaint: str,
) -> None:
    path, other = tmp_path / "token", tmp_path / "other"
    file = TokenFile(path)
    tokens, token = Tokens({Role.ADMIN: file, Role.VIEWER: TokenFile(other)}), file()
    breaking(path)
    for authorization in (f"Bearer {token}", "Bearer ", "Bearer", "", "Bearer short"):
        assert tokens.role(authorization)[0] is Role.ANYBODY
    assert tokens.role(f"Bearer {other.read_text().strip()}")[0] is Role.VIEWER
    assert len([it for it in caplog.records if complaint in it.getMessage()]) == 1
    assert token not in caplog.text
    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    _replace(path, token)
    assert tokens.role(f"Bearer {token}")[0] is Role.ADMIN


def test_trouble_that_passes_lets_nobody_in_for_that_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as want of descriptors, of which the file tells nothing."""
    path = tmp_path / "token"
    file = TokenFile(path, lambda: path.stat().st_ctime + 10)
    _replace(path, "d" * 43)

    def fail(_: Path) -> str:
        raise TokenError("cannot read it: Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(tokenfiles, "read_token", fail)
        assert file() == ""
    assert file() == "d" * 43


@pytest.mark.parametrize("name", NAMES.values())
def test_a_file_that_others_can_read_is_refused_at_start(tmp_path: Path, name: str) -> None:
    token_files(tmp_path)
    (tmp_path / name).chmod(0o640)
    with pytest.raises(TokenError, match="can be read by others; run: chmod 600"):
        token_files(tmp_path)


def test_one_token_for_two_roles_is_refused_at_start_and_later_gives_the_lesser(
    tmp_path: Path,
) -> None:
    tokens = Tokens(token_files(tmp_path))
    admin = (tmp_path / "token").read_text()
    _overwrite(tmp_path / "viewer.token", admin)
    assert tokens.role(f"Bearer {admin.strip()}")[0] is Role.VIEWER
    with pytest.raises(TokenError, match="hold the same token; remove one") as error:
        token_files(tmp_path)
    assert admin.strip() not in str(error.value)


def test_all_tokens_are_compared_whatever_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    sources = {role: lambda role=role: asked.append(role) or f"{role}-token" for role in PEOPLE}
    tokens = Tokens(sources)  # type: ignore[arg-type]
    for given in ("viewer-token", "admin-token", "none"):
        asked.clear()
        tokens.role(f"Bearer {given}")
        assert asked == list(PEOPLE)
