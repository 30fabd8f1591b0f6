"""A docker-archive (the tar of `docker save`), checked and rewritten on its way into the engine.

Here: what may be in such an archive, as a pure transformation of bytes. `docker load` gives images
the names that the archive says, so a hostile one could replace the host's own; and its tar reader
need not see what ours sees. So nothing of the archive's tar structure is passed on: the members are
read, checked, and written into a new tar, with a manifest that holds the one name we chose.
Not here: anything that talks to the engine.
"""

import json
import posixpath
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hyper.drivers.docker_layers import Budget, check_layer
from manifests.imageformat import FormatError, WaryFile

CHUNK = 256 * 1024
LARGEST_TEXT = 1024 * 1024
"""For manifest.json and the image's configuration, which the engine reads whole."""
MOST_MEMBERS = 20_000
MANIFEST = "manifest.json"
DROPPED = frozenset({"repositories", "index.json", "oci-layout"})
"""Other places for an image's names, and other ways to read the same archive."""


class ArchiveError(ValueError):
    """The archive is not one, or is more than one image. The message is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Member:
    """One entry to pass on: a directory, a regular file, or a symbolic link that stays inside."""

    name: str
    kind: bytes
    size: int = 0
    offset: int = 0
    target: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """A checked archive: its members in order, and its only image."""

    members: tuple[Member, ...]
    config: str
    layers: tuple[str, ...]


def rewritten(path: Path, tag: str) -> Iterator[bytes]:
    """The archive at `path` as a clean tar whose only image is named `tag`, in small pieces.

    Raises ArchiveError, before the first piece but for a file that changes meanwhile.
    """
    with _refusals(), path.open("rb") as file:
        contents = read(file)
        _check_layers(file, contents, path.stat().st_size)
        manifest = [{"Config": contents.config, "RepoTags": [tag], "Layers": contents.layers}]
        text = json.dumps(manifest).encode()
        yield header(Member(MANIFEST, tarfile.REGTYPE, len(text)))
        yield text + padding(len(text))
        for member in contents.members:
            yield header(member)
            if member.size:
                yield from _copied(file, member)
        yield bytes(2 * tarfile.BLOCKSIZE)


def read(file: IO[bytes]) -> Contents:
    """Check the whole archive, reading headers only."""
    found: dict[str, Member] = {}
    with tarfile.open(fileobj=WaryFile(file), mode="r:") as tar:  # type: ignore[call-overload]
        for info in tar:
            member = _member(info)
            earlier = found.get(member.name)
            if earlier is not None and not earlier.kind == member.kind == tarfile.DIRTYPE:
                raise ArchiveError(f"it holds {member.name!r} twice")
            found[member.name] = member
            if len(found) > MOST_MEMBERS:
                raise ArchiveError(f"it holds more than {MOST_MEMBERS} members")
    _check_parents(found)
    config, layers = _only_image(file, found)
    kept = (member for name, member in found.items() if name not in DROPPED | {MANIFEST, "."})
    return Contents(tuple(kept), config, layers)


def header(member: Member) -> bytes:
    info = tarfile.TarInfo(member.name)
    info.type, info.size, info.linkname = member.kind, member.size, member.target
    info.mode = 0o755 if member.kind == tarfile.DIRTYPE else 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _member(info: tarfile.TarInfo) -> Member:
    name = posixpath.normpath(info.name)
    if name.startswith(("/", "../")) or name == ".." or "\0" in name:
        raise ArchiveError(f"{info.name!r} leads out of it")
    if info.isdir():
        return Member(name, tarfile.DIRTYPE)
    if name == ".":
        raise ArchiveError("its root is not a directory")
    if info.issym():
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(name), info.linkname))
        if info.linkname.startswith("/") or inside == ".." or inside.startswith("../"):
            raise ArchiveError(f"the link {info.name!r} leads out of it")
        return Member(name, tarfile.SYMTYPE, target=info.linkname)
    if not info.isreg() or info.issparse():
        raise ArchiveError(f"{info.name!r} is neither a file, a directory nor a symbolic link")
    return Member(name, tarfile.REGTYPE, info.size, info.offset_data)


def _check_parents(found: dict[str, Member]) -> None:
    """What lies below a link or a file would be written somewhere else than its name says."""
    for name in found:
        parent = posixpath.dirname(name)
        while parent:
            if parent in found and found[parent].kind != tarfile.DIRTYPE:
                raise ArchiveError(f"{name!r} lies below something that is no directory")
            parent = posixpath.dirname(parent)


def _only_image(file: IO[bytes], found: dict[str, Member]) -> tuple[str, tuple[str, ...]]:
    manifest = _json(file, found, MANIFEST)
    if not isinstance(manifest, list):
        raise ArchiveError(f"its {MANIFEST} is not a list of images")
    if len(manifest) != 1:
        raise ArchiveError(f"it holds {len(manifest)} images instead of one")
    image = manifest[0] if isinstance(manifest[0], dict) else {}
    config, layers = image.get("Config"), image.get("Layers") or []
    if (
        not isinstance(config, str)
        or not isinstance(layers, list)
        or not all(isinstance(layer, str) for layer in layers)
    ):
        raise ArchiveError(f"its {MANIFEST} does not name a configuration and layers")
    names = [posixpath.normpath(name) for name in (config, *layers)]
    for name in names:
        if name not in found or found[name].kind == tarfile.DIRTYPE:
            raise ArchiveError(f"it lacks {name!r}, which its {MANIFEST} names")
    if not isinstance(_json(file, found, names[0]), dict):
        raise ArchiveError(f"its configuration {names[0]!r} is not an object")
    return names[0], tuple(names[1:])


def _json(file: IO[bytes], found: dict[str, Member], name: str) -> Any:
    member = found.get(name)
    if member is None or member.kind != tarfile.REGTYPE:
        raise ArchiveError(f"it has no {name!r}: is it a docker-archive, as `docker save` writes?")
    if member.size > LARGEST_TEXT:
        raise ArchiveError(f"its {name!r} is larger than {LARGEST_TEXT // 1024} KiB")
    file.seek(member.offset)
    try:
        return json.loads(file.read(member.size))
    except (ValueError, RecursionError):
        raise ArchiveError(f"its {name!r} is not JSON") from None


def _check_layers(file: IO[bytes], contents: Contents, size: int) -> None:
    """Each as often as it is named: the engine unpacks one on top of itself, too."""
    links = {item.name: item.target for item in contents.members if item.kind == tarfile.SYMTYPE}
    named = Counter(_followed(posixpath.normpath(name), links) for name in contents.layers)
    budget = Budget(size)
    for member in contents.members:
        if member.size:
            budget.times = max(1, named[member.name])
            check_layer(file, member.offset, member.size, budget)


def _followed(name: str, links: dict[str, str]) -> str:
    for _ in links:
        if name not in links:
            break
        name = posixpath.normpath(posixpath.join(posixpath.dirname(name), links[name]))
    return name


def _copied(file: IO[bytes], member: Member) -> Iterator[bytes]:
    file.seek(member.offset)
    left = member.size
    while left:
        data = file.read(min(CHUNK, left))
        if not data:
            raise ArchiveError("it is cut short")
        left -= len(data)
        yield data
    yield padding(member.size)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ArchiveError:
        raise
    except FormatError as error:
        raise ArchiveError(f"it {error}") from None
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
        raise ArchiveError(f"it is not an uncompressed tar: {error}") from None
    except OSError as error:
        raise ArchiveError(f"it cannot be read: {error.strerror}") from None
