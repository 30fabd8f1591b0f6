"""A directory in a git work tree -> its manifests as of the commit that HEAD points to.

The work tree itself is not looked at: neither a half-done checkout nor an edit that is not committed
is ever applied. The only importer of dulwich. Nothing of a repository is executed or written.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from dulwich.objects import Blob, Commit, ObjectID, Tree, hex_to_sha
from dulwich.pack import take_msb_bytes
from dulwich.repo import Repo

from manifests.files import MAX_FILES, SUFFIXES, display
from manifests.guard import LIMITS
from manifests.problem import Problem
from manifests.text import MIB
from reconciler.watch.found import GIT, Found, Paused, Stopped, Unreadable, check_size

MIDDLE = {
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase, or git am,",
    "BISECT_LOG": "git bisect",
}
"""What is in the git directory while HEAD moves over commits that nobody means to keep there."""

ATTEMPTS = 3
"""What looks like damage may be git that has just packed what was about to be read."""

Stopping = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Place:
    """A directory of a work tree. `top` is the work tree, `inside` the path below it, "" for itself.

    `control` is the git directory with HEAD, `common` the one with refs: another one in a linked
    work tree.
    """

    top: str
    inside: str
    control: str
    common: str


def find(path: str) -> Place | None:
    """Where `path` is in a work tree; None outside of any. Raises Unreadable."""
    real = os.path.realpath(path)
    for top in (real, *map(str, Path(real).parents)):
        mark = os.path.join(top, ".git")
        if os.path.lexists(mark):
            inside = os.path.relpath(real, top)
            control = _control(mark)
            return Place(top, "" if inside == "." else inside, control, _common(control))
    return None


def _control(mark: str) -> str:
    """The git directory that `.git`, a directory or a file that names one, stands for."""
    if os.path.isdir(mark):
        return os.path.realpath(mark)
    text = _line(mark)
    if not text.startswith("gitdir: "):
        raise Unreadable(f"{mark} is not what git makes")
    return os.path.realpath(os.path.join(os.path.dirname(mark), text.removeprefix("gitdir: ")))


def _common(control: str) -> str:
    named = os.path.join(control, "commondir")
    if not os.path.exists(named):
        return control
    return os.path.realpath(os.path.join(control, _line(named)))


def _line(file: str) -> str:
    try:
        return os.fsdecode(Path(file).read_bytes()[:4096].rstrip(b"\r\n"))
    except OSError as error:
        raise Unreadable(f"{file} cannot be read: {error.strerror}") from None


def read(place: Place, stopping: Stopping) -> Found:
    """What the commit has below the directory. Raises Unreadable, Paused, Stopped."""
    _check_owner(place)
    _check_middle(place)
    damage: _Damaged | None = None
    for _ in range(ATTEMPTS):
        try:
            return _attempt(place, stopping)
        except _Damaged as error:
            damage = error
    raise Unreadable(str(damage)) from damage


class _Damaged(Exception):
    """Something in the repository is not as it should be."""


def _attempt(place: Place, stopping: Stopping) -> Found:
    try:
        with closing(Repo(place.top)) as repo:
            return _read(repo, place, stopping)
    except (Unreadable, Paused, Stopped):
        raise
    except Exception as error:  # whatever dulwich finds in a repository that is damaged
        said = f"{type(error).__name__}: {error}"
        raise _Damaged(
            f"the git repository {place.top} cannot be read ({said}); see git fsck"
        ) from error


def _check_owner(place: Place) -> None:
    """As git does: a repository of somebody else's is not trusted."""
    trusted = {0, os.geteuid()}
    if os.geteuid() == 0 and (sudo := os.environ.get("SUDO_UID", "")).isdecimal():
        trusted.add(int(sudo))
    mark = os.path.join(place.top, ".git")
    for item in dict.fromkeys((place.top, mark, place.control, place.common)):
        try:
            owner = os.stat(item).st_uid
        except OSError as error:
            raise Unreadable(f"{item} cannot be read: {error.strerror}") from None
        if owner not in trusted:
            raise Unreadable(
                f"dubious ownership: {item} belongs to user {owner}, neither to root nor to user"
                f" {os.geteuid()}, as whom this program runs; chown -R the repository, or run"
                " iaas-reconciler as its owner"
            )


def _check_middle(place: Place) -> None:
    for name, what in MIDDLE.items():
        if os.path.lexists(os.path.join(place.control, name)):
            raise Paused(f"{what} is under way in {place.top}; it is read when that has ended")


def _read(repo: Repo, place: Place, stopping: Stopping) -> Found:
    try:
        head = repo.head()
    except KeyError:
        return Found(GIT, empty=f"the git repository {place.top} has no commit yet")
    commit = repo[head]
    if not isinstance(commit, Commit):
        raise Unreadable(f"HEAD of {place.top} is no commit")
    name = head.decode()
    tree = _descend(repo, commit.tree, place.inside)
    if tree is None:
        reason = f"commit {name[:12]} has no directory {place.inside}"
        return Found(GIT, commit=name, empty=f"{reason}; git add it, and commit")
    reader = _Reader(repo, stopping)
    reader.walk(tree, "")
    return Found(
        GIT,
        tuple(sorted(reader.files)),
        tuple(sorted(reader.problems)),
        tuple(sorted(reader.notes)),
        name,
        "" if reader.files else f"commit {name[:12]} has no manifests here",
    )


def _descend(repo: Repo, root: bytes, inside: str) -> Tree | None:
    found = _tree(repo, root)
    for part in Path(inside).parts:
        entries = {item.path: item for item in found.items()}
        entry = entries.get(os.fsencode(part))
        if entry is None or entry.mode is None or not stat.S_ISDIR(entry.mode):
            return None
        found = _tree(repo, entry.sha)
    return found


def _tree(repo: Repo, name: bytes) -> Tree:
    found = repo[name]
    if not isinstance(found, Tree):
        raise Unreadable(f"object {name.decode()} is no tree")
    return found


class _Reader:
    def __init__(self, repo: Repo, stopping: Stopping) -> None:
        self._repo = repo
        self._stopping = stopping
        self.files: list[tuple[str, bytes]] = []
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self._barren: set[bytes] = set()
        """Trees that hold nothing to be told of: a few of them can be a billion directories."""
        self._bytes = 0

    def walk(self, tree: Tree, prefix: str) -> None:
        if tree.id in self._barren:
            return
        before = self._told
        self._entries(tree, prefix)
        if self._told == before:
            self._barren.add(tree.id)

    @property
    def _told(self) -> int:
        return len(self.files) + len(self.problems) + len(self.notes)

    def _entries(self, tree: Tree, prefix: str) -> None:
        for entry in tree.items():
            if self._stopping():
                raise Stopped
            if entry.path.startswith(b"."):
                continue
            name = prefix + display(os.fsdecode(entry.path))
            mode = entry.mode or 0
            if stat.S_ISDIR(mode):
                self.walk(_tree(self._repo, entry.sha), f"{name}/")
            elif stat.S_ISREG(mode) and name.endswith(SUFFIXES):
                self._file(entry.sha, name)
            elif not stat.S_ISREG(mode) and len(self.notes) < MAX_FILES:
                what = "a symbolic link" if stat.S_ISLNK(mode) else "a submodule"
                self.notes.append(f"{name} is {what} and was left out")

    def _file(self, sha: bytes, name: str) -> None:
        if len(self.files) + len(self.problems) >= MAX_FILES:
            raise Unreadable(f"it holds more than {MAX_FILES} manifest files")
        if (blob := self._blob(sha)) is None:
            message = f"is larger than {LIMITS.size // MIB} MiB"
            self.problems.append(Problem(name, 1, 1, "", message, "split it into several files"))
            return
        self.files.append((name, blob))
        self._bytes += len(blob)
        check_size(self._bytes)

    def _blob(self, sha: bytes) -> bytes | None:
        """None for one that is too large; from its pack it is not even read."""
        if _packed_size(self._repo, sha) > LIMITS.size:
            return None
        blob = self._repo[sha]
        if not isinstance(blob, Blob):
            raise Unreadable(f"object {sha.decode()} is no file")
        return None if blob.raw_length() > LIMITS.size else blob.data


def _packed_size(repo: Repo, sha: bytes) -> int:
    """Bytes of an object that is in a pack, or of what it is put together from; else 0. The library
    would have to unpack it to tell, and a million times its size may come of that."""
    for pack in repo.object_store.packs:
        with suppress(KeyError), open(pack.data.path, "rb") as file:
            file.seek(pack.index.object_offset(hex_to_sha(ObjectID(sha))))
            (first, *more), _ = take_msb_bytes(file.read)
            return (first & 0x0F) + sum((it & 0x7F) << 7 * n + 4 for n, it in enumerate(more))
    return 0


def signs(place: Place) -> Iterator[tuple[str, bool]]:
    """(directory, with all below it) whose changes may tell of another commit."""
    yield place.control, False
    yield place.common, False
    for name in ("refs", "reftable"):
        if os.path.isdir(found := os.path.join(place.common, name)):
            yield found, True


def is_sign(place: Place, path: str) -> bool:
    """Whether a change of `path`, in one of these directories, may tell of another commit."""
    if path in (place.control, place.common):
        return True
    folder, name = os.path.split(path)
    if folder == place.control and (name == "HEAD" or name in MIDDLE):
        return True
    if folder == place.common and name in ("packed-refs", "refs", "reftable"):
        return True
    return not path.endswith(".lock") and any(
        path.startswith(os.path.join(place.common, part, "")) for part in ("refs", "reftable")
    )


__all__ = ["Place", "find", "is_sign", "read", "signs"]
