"""Manifests as data, as short as tests need them."""

from pathlib import Path
from typing import Any

from manifests.wire import ImageRef
from tests.e2e.lab import Lab

Document = dict[str, Any]


def _document(kind: str, name: str, spec: Document) -> Document:
    return {"apiVersion": "iaas/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def node(lab: Lab, name: str = "n1", **spec: Any) -> Document:
    capacity = {"memory": "64Gi", "cpus": 100}
    address = f"127.0.0.1:{lab.agent_port}"
    return _document("Node", name, {"address": address, "capacity": capacity} | spec)


def image(name: str, file: Path) -> Document:
    spec = {"type": "libvirt" if file.suffix == ".qcow2" else "docker", "file": str(file)}
    return _document("Image", name, spec)


def pulled(name: str, ref: ImageRef) -> Document:
    """An image of a registry; the tag is one that is not there."""
    reference = f"{ref.repository}:no-such-tag@sha256:{ref.sha256}"
    return _document("Image", name, {"type": "docker", "registry": reference})


def machine(name: str, image_: str, **spec: Any) -> Document:
    """With `port`, port 80 of the machine is published there."""
    if port := spec.pop("port", None):
        spec["ports"] = [f"{port}:80"]
    small = {"memory": "32Mi", "cpus": 0.2}
    return _document("Machine", name, {"image": image_} | small | spec)


def vm(name: str, image_: str = "vm", **spec: Any) -> Document:
    return machine(name, image_, **{"memory": "128Mi", "cpus": 1} | spec)
