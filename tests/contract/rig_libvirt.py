"""A real libvirtd in the hands of the driver contract."""

import os
import shutil
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import libvirt
import pytest

from hyper.drivers import Driver
from hyper.drivers.domain_xml import domain_name
from hyper.drivers.libvirt import Libvirt
from hyper.drivers.libvirt_connection import start_event_loop
from manifests.kinds.image import ImageFormat, MachineType
from manifests.scalars import Memory, Sha256
from manifests.wire import ImageRef, Placement
from tests import vm_images
from tests.contract.driver_contract import DEADLINE, Rig

URI = "qemu:///system"
FOREIGN = "<domain type='qemu'><name>{}</name><memory unit='MiB'>16</memory><os><type>hvm</type></os></domain>"


class LibvirtRig(Rig):
    type = MachineType.LIBVIRT
    memory = (Memory(vm_images.MEMORY), Memory(vm_images.MEMORY + 32))
    makes_images = False
    pulls = False

    def __init__(self, directory: Path) -> None:
        self._stack = ExitStack()
        super().__init__(self._stack.enter_context(vm_images.open_directory()))
        self.ident = uuid4().hex[:8]
        self._foreign: list[str] = []
        start_event_loop()
        self.conn: Any = libvirt.open(URI)
        self.image, self.path = self.fresh_image()

    def new_driver(self) -> Libvirt:
        return Libvirt(self.ident, self.directory / "disks", uri=URI, grace=1.0)

    def unreachable_driver(self) -> Driver:
        uri = f"qemu:///system?socket={self.directory}/no.sock"
        return Libvirt(self.ident, self.directory / "disks", uri=uri)

    def fresh_image(self) -> tuple[ImageRef, Path]:
        path = self.directory / f"{uuid4()}.qcow2"
        shutil.copyfile(vm_images.built(), path)
        return vm_images.reference(path), path

    def broken_image(self) -> tuple[ImageRef, Path]:
        path = self.directory / f"{uuid4()}.qcow2"
        path.write_bytes(b"not a disk" * 1000)
        return vm_images.reference(path), path

    def pulled_image(self) -> ImageRef:
        sha256 = Sha256("0" * 64)
        return ImageRef(sha256=sha256, format=ImageFormat.REGISTRY, size=0, repository="app")

    def prepared(self, image: ImageRef) -> bool:
        return False

    def kill(self, handle: str) -> None:
        pid = Path(f"/run/libvirt/qemu/{self._domain(handle).name()}.pid")
        os.kill(int(pid.read_text()), signal.SIGKILL)

    def finish(self, handle: str) -> None:
        """The guest listens to its power button only when it has booted."""
        deadline = time.monotonic() + DEADLINE
        domain = self._domain(handle)
        while domain.isActive() and time.monotonic() < deadline:
            with suppress(libvirt.libvirtError):
                domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
            time.sleep(0.5)

    def vanish(self, handle: str) -> None:
        domain = self._domain(handle)
        domain.destroy()
        domain.undefine()

    def pause(self, handle: str) -> None:
        self._domain(handle).suspend()

    def add_foreign(self, name: str) -> str:
        domain = self.conn.createXML(FOREIGN.format(name))
        self._foreign.append(domain.UUIDString())
        return self._foreign[-1]

    def foreign_runs(self, handle: str) -> bool:
        return bool(self._domain(handle).isActive())

    def remove_foreign(self) -> None:
        for handle in self._foreign:
            self._domain(handle).destroy()
        self._foreign.clear()

    def remains(self, uid: str) -> list[str]:
        domains = [
            domain.name() for domain in self.conn.listAllDomains() if uid in domain.XMLDesc()
        ]
        places = (
            self.directory / "disks",
            Path("/var/lib/libvirt/qemu"),
            Path("/run/libvirt/qemu"),
        )
        names = [*domains, uid]
        files = (path for place in places for path in place.rglob("*"))
        return domains + [str(path) for path in files if any(name in path.name for name in names)]

    def instance_name(self, placement: Placement) -> str:
        return domain_name(placement.name, placement.uid, placement.epoch)

    def close(self) -> None:
        driver = self.new_driver()
        driver.leave()
        driver.close()
        self.conn.close()
        self._stack.close()
        assert not Path(f"/sys/class/net/viaas{self.ident}").exists()

    def _domain(self, handle: str) -> Any:
        try:
            return self.conn.lookupByUUIDString(handle)
        except libvirt.libvirtError:
            pytest.fail(f"no domain {handle}")
