"""What the engines and the kernel themselves have of a cluster: asked there, never of our programs."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import libvirt
import psutil

from hyper.engines import ident
from tests.e2e.lab import Lab

LIBVIRT = "qemu:///system"
QEMU_PIDS = Path("/run/libvirt/qemu")


class Engines:
    def __init__(self) -> None:
        self.docker = docker.from_env()
        self._libvirt: Any = None

    @property
    def libvirt(self) -> Any:
        if self._libvirt is None:
            self._libvirt = libvirt.open(LIBVIRT)
        return self._libvirt

    def close(self) -> None:
        self.docker.close()
        if self._libvirt is not None:
            self._libvirt.close()

    # -- containers

    def containers(self, lab: Lab) -> list[dict[str, Any]]:
        """As `docker inspect` shows them, of this lab's cluster, running or not."""
        api = self.docker.api
        label = {"label": f"iaas.cluster={lab.cluster}"}
        found = []
        for item in api.containers(all=True, filters=label):
            try:
                found.append(api.inspect_container(item["Id"]))
            except docker.errors.NotFound:
                continue
        return found

    def container(self, lab: Lab, name: str) -> dict[str, Any]:
        (found,) = (
            it for it in self.containers(lab) if it["Config"]["Labels"]["iaas.name"] == name
        )
        return found

    # -- domains

    def domains(self, lab: Lab) -> list[Any]:
        return [it for it in self.libvirt.listAllDomains() if lab.cluster in _xml(it)]

    def domain(self, lab: Lab, name: str) -> Any:
        (found,) = (it for it in self.domains(lab) if it.name().startswith(f"iaas-{name}-"))
        return found

    # -- what may be left

    def leftovers(self, lab: Lab) -> list[str]:
        return [*self._of_cluster(lab), *self._of_agent(lab)]

    def _of_cluster(self, lab: Lab) -> Iterator[str]:
        if lab.cluster:
            yield from (f"container {it['Name']}" for it in self.containers(lab))
            yield from (f"domain {it.name()}" for it in self.domains(lab))

    def _of_agent(self, lab: Lab) -> Iterator[str]:
        own = ident(lab.state)
        for network in self.libvirt.listAllNetworks():
            if own in network.name():
                yield f"network {network.name()}"
        if Path(f"/sys/class/net/viaas{own}").exists():
            yield f"bridge viaas{own}"
        for file in Path("/var/lib/libvirt/dnsmasq").glob(f"*{own}*"):
            yield f"file {file}"
        if f"iaas_{own}" in said("nft", "list", "tables"):
            yield f"nft table iaas_{own}"
        for line in re.findall(f".*iaas {own}.*", said("iptables-save")):
            yield f"iptables rule {line}"
        for name in ("disks", "images"):
            yield from (f"file {path}" for path in lab.state.glob(f"{name}/*"))
        for words in command_lines():
            if str(lab.dir) in words or f"viaas{own}" in words:
                yield f"process {words[:200]}"


def _xml(domain: Any) -> str:
    try:
        return str(domain.XMLDesc())
    except libvirt.libvirtError:  # removed since it was listed
        return ""


def command_lines() -> list[str]:
    """Of every process there is."""
    return [
        f"{it.info['pid']} {' '.join(it.info['cmdline'] or [])}"
        for it in psutil.process_iter(["cmdline", "pid"])
    ]


def qemu_pid(domain: Any) -> int:
    return int((QEMU_PIDS / f"{domain.name()}.pid").read_text())


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
