"""The cluster that most tests use: one container and one VM, both with a page on a port."""

from pathlib import Path
from typing import Any

from tests.e2e.documents import Document, image, machine, node, vm
from tests.e2e.engines import Engines, qemu_pid
from tests.e2e.lab import Lab, Result
from tests.e2e.ports import answers, free_port, until


class Cluster:
    """`web1` and `vm1` on `n1`; their ports are `web_port` and `vm_port`."""

    def __init__(self, lab: Lab, engines: Engines, web: Path, vm_image: Path) -> None:
        self.lab = lab
        self.engines = engines
        self.web_port, self.vm_port = free_port(), free_port()
        self._base = [node(lab), image("web", web), image("vm", vm_image)]

    def documents(self, *more: Document, web: Any = None, vm1: Any = None) -> list[Document]:
        """The cluster's, with other fields of its two machines where given, and more."""
        return [
            *self._base,
            machine("web1", "web", **{"port": self.web_port} | (web or {})),
            vm("vm1", **{"port": self.vm_port} | (vm1 or {})),
            *more,
        ]

    def apply(self, *more: Document, web: Any = None, vm1: Any = None) -> Result:
        return self.lab.apply(*self.documents(*more, web=web, vm1=vm1))

    def plan(self, *more: Document, web: Any = None, vm1: Any = None) -> Result:
        path = self.lab.write(*self.documents(*more, web=web, vm1=vm1))
        return self.lab.ctl("plan", "-f", path, code=None)

    def settle(self) -> Result:
        """As it shall be before and after every test; both pages answer."""
        applied = self.apply()
        for port in (self.web_port, self.vm_port):
            until(f"port {port} answers", lambda port=port: answers(port))
        return applied

    def container(self) -> dict[str, Any]:
        return self.engines.container(self.lab, "web1")

    def domain(self) -> Any:
        return self.engines.domain(self.lab, "vm1")

    def disk(self) -> Path:
        uid = self.lab.machine("vm1")["id"]
        (path,) = (self.lab.state / "disks").glob(f"{uid}.*.qcow2")
        return path

    def objects(self) -> dict[str, Any]:
        """What changes when an engine's object is made anew or restarted."""
        found = self.container()
        return {
            "container": found["Id"],
            "started": found["State"]["StartedAt"],
            "pid": found["State"]["Pid"],
            "domain": self.domain().UUIDString(),
            "qemu": qemu_pid(self.domain()),
        }
