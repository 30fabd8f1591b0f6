"""Container images for tests, made from Debian's busybox: archives as `docker save` writes them."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from manifests.kinds.image import ImageFormat
from manifests.scalars import Sha256
from manifests.wire import ImageRef

BUSYBOX = Path("/bin/busybox")
IDLE = "trap 'exit 0' TERM USR1; while :; do sleep 1000 & wait; done"
"""Ends at once and well when it is asked to."""
STUBBORN = "trap '' TERM; while :; do sleep 1000; done"

Entry = tuple[str, bytes] | tarfile.TarInfo


def reference(path: Path) -> ImageRef:
    data = path.read_bytes()
    digest = Sha256(hashlib.sha256(data).hexdigest())
    return ImageRef(sha256=digest, format=ImageFormat.DOCKER_ARCHIVE, size=len(data))


def busybox(path: Path, *, tags: list[str] | None = None, **config: Any) -> ImageRef:
    """An image of busybox alone, at `path`. `config` changes what it runs, its labels and so on."""
    layer = rootfs()
    digest = hashlib.sha256(layer).hexdigest()
    text = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/sh", "-c", IDLE], "Env": ["PATH=/bin"]} | config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": tags, "Layers": [f"{digest}/layer.tar"]}]
    entries = [
        (name, text),
        (f"{digest}/layer.tar", layer),
        ("manifest.json", json.dumps(manifest).encode()),
    ]
    path.write_bytes(tar(entries))
    return reference(path)


def rootfs() -> bytes:
    entries: list[Entry] = []
    for name in ("bin", "data", "dev", "proc", "sys", "tmp"):
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        entries.append(info)
    for name in ("sh", "sleep", "httpd", "cat", "dd"):
        info = tarfile.TarInfo(f"bin/{name}")
        info.type, info.linkname = tarfile.SYMTYPE, "busybox"
        entries.append(info)
    return tar([*entries, ("bin/busybox", BUSYBOX.read_bytes())], mode=0o755)


def tar(entries: Iterable[Entry], mode: int = 0o644) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            name, data = entry
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
