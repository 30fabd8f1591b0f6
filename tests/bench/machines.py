"""A container and a VM made by the product, with busybox's httpd, and another host beside the node.

In the container's namespace there is the fast server as well: what Docker's publishing costs without
a slow program behind it. A VM without KVM is slow itself: read its figures beside direct access to it.
"""

import gzip
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from hyper.engines import ident
from tests import vm_images
from tests.bench.load import BIG, PAGE
from tests.bench.standin import inside
from tests.bench.ways import DIRECT, Group, Row, Way, server
from tests.e2e.conftest import BUILD_WEB, making
from tests.e2e.documents import Document, image, machine, node, vm
from tests.e2e.engines import Engines
from tests.e2e.lab import Lab
from tests.e2e.ports import answers, free_port, until
from tests.netns import Host, hosts, run

NODE, OTHER = "198.18.2.1", "198.18.2.2"
FAST = 9000
MIB = {"web": PAGE >> 20, "vm": 8}
"""Of the page that is streamed."""
WEB = f"dd if=/dev/zero of=/www{BIG} bs=1M seek={MIB['web']} count=0 && exec /init"
PUBLISHERS = ("nftables", "pwncat")


class Machines:
    """`web` and `vm` on one node of a lab of their own."""

    def __init__(self, lab: Lab, engines: Engines, other: Host) -> None:
        self.web_port, self.fast_port, self.vm_port = free_port(), free_port(), free_port()
        self._lab = lab
        self._engines = engines
        self._other = inside(other)
        archive, disk = lab.dir / "web.tar", lab.dir / "big.qcow2"
        subprocess.run([BUILD_WEB, archive], check=True, capture_output=True)
        vm_image(disk)
        self._images = [image("web", archive), image("vm", disk)]
        self.publish_by(PUBLISHERS[0])
        until("the page of the container", lambda: answers(self.web_port))

    def publish_by(self, publisher: str) -> None:
        self._lab.apply(*self._documents(publisher))
        way = Way("127.0.0.1", publisher, "127.0.0.1", self.vm_port, echo=False)
        until(f"the VM answers by {publisher}", lambda: Row(way).answers())

    def _documents(self, publisher: str) -> list[Document]:
        web, fast = f"{self.web_port}:80", f"{self.fast_port}:{FAST}"
        roomy = {"memory": "256Mi", "cpus": 2}
        command = ["/bin/busybox", "sh", "-c", WEB]
        return [
            node(self._lab, publisher=publisher),
            *self._images,
            machine("web", "web", ports=[web, fast], command=command, **roomy),
            vm("vm", port=self.vm_port, memory="192Mi"),
        ]

    @contextmanager
    def fast(self) -> Iterator[None]:
        pid = self._container()["State"]["Pid"]
        with server(("nsenter", "--target", str(pid), "--net"), FAST):
            yield

    def _container(self) -> dict[str, Any]:
        return self._engines.container(self._lab, "web")

    def groups(self) -> Iterator[Group]:
        by = {"127.0.0.1": "docker-proxy"}
        web = self._container()["NetworkSettings"]["IPAddress"]
        guest = self._lab.machine("vm")["ip"]
        fast = self._ways((web, FAST), self.fast_port, by, True)
        httpd = self._ways((web, 80), self.web_port, by, False)
        yield Group("Container made by iaasctl, fast server in its namespace", fast)
        yield Group("Container made by iaasctl, busybox httpd", httpd)
        for publisher in PUBLISHERS:
            named = dict.fromkeys(("another host", "the node", "127.0.0.1"), publisher)
            ways = self._ways((guest, 80), self.vm_port, named, False)
            title = f"VM made by iaasctl, busybox httpd, {publisher}"
            yield Group(title, ways, lambda publisher=publisher: self.publish_by(publisher))

    def _ways(
        self, direct: tuple[str, int], port: int, by: dict[str, str], echo: bool
    ) -> list[Way]:
        found = []
        for origin, where in (("another host", self._other), ("the node", ())):
            found.append(Way(origin, DIRECT, *direct, where, echo))
            found.append(Way(origin, by.get(origin, "docker's DNAT"), NODE, port, where, echo))
        name = "127.0.0.1"
        return [*found, Way(name, by[name], name, port, (), echo)]


@contextmanager
def machines() -> Iterator[Machines]:
    with ExitStack() as stack:
        engines = stack.enter_context(closing(Engines()))
        other = stack.enter_context(beside())
        lab = stack.enter_context(making(engines))("docker,libvirt")
        made = Machines(lab, engines, other)
        stack.enter_context(made.fast())
        stack.enter_context(let_through(f"viaas{ident(lab.state)}"))
        yield made


@contextmanager
def beside() -> Iterator[Host]:
    """Another host, whose way to everywhere is by this one at NODE."""
    with hosts(1) as (other,):
        peer = f"b{other.name[-8:]}"
        run("ip", "link", "add", peer, "type", "veth", "peer", "name", "eth0", "netns", other.name)
        run("ip", "address", "add", f"{NODE}/30", "dev", peer)
        run("ip", "link", "set", peer, "up")
        other.ip("address", "add", f"{OTHER}/30", "dev", "eth0")
        other.ip("link", "set", "eth0", "up")
        other.ip("route", "add", "default", "via", NODE)
        yield other


@contextmanager
def let_through(bridge: str) -> Iterator[None]:
    """libvirt rejects what comes to a VM from another host unasked: direct access takes a rule."""
    rule = ("FORWARD", "-s", OTHER, "-o", bridge, "-j", "ACCEPT")
    run("iptables", "-w", "5", "-I", *rule)
    try:
        yield
    finally:
        run("iptables", "-w", "5", "-D", *rule)


def vm_image(path: Path) -> None:
    """The VM image of the examples with a page for streams: Linux unpacks one archive after another."""
    folder = path.parent / "vm"
    (folder / "www").mkdir(parents=True)
    with (folder / "www" / BIG[1:]).open("wb") as page:
        page.truncate(MIB["vm"] << 20)
    disk, initrd = folder / "disk", folder / "initrd"
    convert("qcow2", vm_images.built(), "raw", disk)
    run("mcopy", "-i", str(disk), "::initrd", str(initrd))
    names = f"www\nwww{BIG}\n".encode()
    pack = ("busybox", "cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0")
    packed = subprocess.run(pack, input=names, cwd=folder, check=True, capture_output=True).stdout
    with initrd.open("ab") as file:
        file.write(gzip.compress(packed, mtime=0))
    run("mcopy", "-o", "-i", str(disk), str(initrd), "::initrd")
    convert("raw", disk, "qcow2", path)
    shutil.rmtree(folder)


def convert(format_: str, from_: Path, to_format: str, to: Path) -> None:
    run("qemu-img", "convert", "-f", format_, "-O", to_format, str(from_), str(to))
