"""What users hand in: valid manifests of a small world, and changes of every class of effect."""

from __future__ import annotations

import atexit
import copy
import hashlib
import io
import random
import shutil
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from manifests.kinds.image import MachineType
from reconciler.images import Library

Document = dict[str, Any]

NODES = ("n1", "n2", "n3")
IMAGES = {"box": "docker", "cup": "docker", "disk": "libvirt", "drum": "libvirt"}
MACHINES = tuple(f"m{number}" for number in range(1, 11))
PORTS = ("8080:80/tcp", "8081:80/tcp", "8082:80/tcp", "8083:53/udp")


@cache
def library() -> Library:
    """The bytes of all images; never changed, so shared by all runs of this process."""
    shm = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="simulation-", dir=shm if shm.is_dir() else None))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    made = Library(root, reserve=0)
    for data in (*blobs("docker"), *blobs("libvirt")):
        made.path(digest(data)).write_bytes(data)
    return made


@cache
def blobs(type_: str) -> tuple[bytes, ...]:
    return tuple(_archive(n) if type_ == "docker" else b"disk %d" % n * 1500 for n in range(4))


LARGEST_SET = 2 * (2 * 10240) + 2 * 9000
"""Bytes of all that can be wanted at once: an archive is kept by its engine, too."""


def _archive(number: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("manifest.json")
        member.mtime = number
        tar.addfile(member)
    return buffer.getvalue()


@cache
def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def document(kind: str, name: str, spec: Document) -> Document:
    return {"apiVersion": "iaas/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def node(name: str, address: str) -> Document:
    return document("Node", name, {"address": address})


def image(rng: random.Random, name: str) -> Document:
    type_ = IMAGES[name]
    data = rng.choice(blobs(type_))
    format_ = {} if type_ == "docker" else {"format": "raw"}
    return document("Image", name, {"type": type_, "sha256": digest(data), **format_})


def machine(rng: random.Random, name: str) -> Document:
    spec: Document = {"image": rng.choice(tuple(IMAGES))}
    made = document("Machine", name, spec)
    for field in ("memory", "cpus", "restart"):
        vary(rng, made, field)
    for field, chance in (("ports", 0.4), ("node", 0.3), ("state", 0.15), ("env", 0.2)):
        if rng.random() < chance:
            vary(rng, made, field)
    return made


def unpinned(machines: list[Document]) -> list[Document]:
    """The same, without the pins that make two want one port of one node: a set may not say so."""
    used: set[tuple[str, str]] = set()
    for made in machines:
        spec = made["spec"]
        wanted = {
            (spec.get("node", ""), port.replace(":53", ":80")) for port in spec.get("ports", ())
        }
        if "node" in spec and used & wanted:
            del spec["node"]
        else:
            used |= wanted
    return machines


FIELDS = (
    "memory", "memory", "cpus", "state", "state", "state", "state", "ports", "node", "env", "command", "restart", "image", "labels",
    "onNodeFailure",
)  # fmt: skip


def varied(rng: random.Random, old: Document) -> Document:
    """The document of a machine with one or two fields changed."""
    new = copy.deepcopy(old)
    for field in rng.sample(FIELDS, rng.choice((1, 1, 2))):
        vary(rng, new, field)
    return new


def vary(rng: random.Random, made: Document, field: str) -> None:
    spec = made["spec"]
    docker = IMAGES[spec["image"]] == MachineType.DOCKER
    if field == "image":
        spec["image"] = rng.choice([it for it in IMAGES if IMAGES[it] == IMAGES[spec["image"]]])
        if rng.random() < 0.2:
            _switch_type(rng, spec)
        return
    if field == "labels":
        made["metadata"]["labels"] = {"app": rng.choice("xyz")}
    elif field in ("env", "command") and not docker:
        return
    else:
        _set(spec, field, rng.choice(_choices(rng, docker)[field]))


def _set(spec: Document, field: str, value: Any) -> None:
    if value is None:
        spec.pop(field, None)
    else:
        spec[field] = value


def _choices(rng: random.Random, docker: bool) -> dict[str, tuple[Any, ...]]:
    return {
        "memory": ("64Mi", "128Mi", "256Mi", "512Mi"),
        "cpus": (0.5, 1, 2) if docker else (1, 2),
        "state": ("running", "stopped"),
        "ports": (None, [rng.choice(PORTS)], sorted(rng.sample(PORTS, 2))),
        "node": (None, None, *NODES),
        "env": (None, {"A": "1"}, {"A": "2"}),
        "command": (None, ["run"], ["serve", "now"]),
        "restart": ({"policy": "always"}, {"policy": "on-failure"}, {"policy": "never"}),
        "onNodeFailure": (None, "wait", "reschedule"),
    }


def _switch_type(rng: random.Random, spec: Document) -> None:
    other = [it for it in IMAGES if IMAGES[it] != IMAGES[spec["image"]]]
    spec["image"] = rng.choice(other)
    spec.pop("env", None)
    spec.pop("command", None)
    spec["cpus"] = rng.choice((1, 2))
