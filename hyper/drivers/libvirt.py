"""The libvirt driver: VMs of qemu, as persistent domains that carry our label.

A domain is defined before its disk is made and undefined after its disk is gone, so that a crash at
any point leaves a domain that `observe` shows and `start` or `remove` finishes. What libvirt forgets
when it restarts (whether a domain ever ran, who stopped it) is in the label.
"""

import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import libvirt

from hyper.core.model import Instance, Life, View
from hyper.drivers import DriverError, EngineDown, Notify, Refused
from hyper.drivers.domain_xml import (
    NAMESPACE,
    PREFIX,
    Domain,
    Label,
    domain_name,
    domain_uuid,
    domain_xml,
    label_xml,
    parse_domain,
    resized,
)
from hyper.drivers.libvirt_connection import Busy, Connection, Gone, WrongState
from hyper.drivers.libvirt_instance import State, instance_of, life
from hyper.drivers.libvirt_network import VmNetwork
from hyper.drivers.libvirt_watch import Watch
from hyper.drivers.qemu_img import check_base, create_overlay, make_readable, remove_disk
from manifests.kinds.image import MachineType
from manifests.scalars import Uid
from manifests.wire import Foreign, ImageRef, Placement

GRACE = 10.0
PRESS_AGAIN = 2.5
"""Seconds between presses of the power button: a guest that is booting misses the first."""
DISK_NAME = re.compile(
    r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([0-9]{1,18})\.qcow2(\.new)?"
)
HANDLE = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


def virtualisation(kvm: Path = Path("/dev/kvm"), cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """kvm where it works, else qemu: /dev/kvm may open on a processor that cannot virtualise."""
    try:
        os.close(os.open(kvm, os.O_RDWR | os.O_CLOEXEC))
        able = re.search(r"^flags\s*:.*\b(vmx|svm)\b", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return "qemu"
    return "kvm" if able else "qemu"


class Libvirt:
    """`ident`: of the agent, 1 to 8 of a-z and 0-9; its network and bridge are named by it.
    `disks`: a directory of the driver's own, which it creates. `grace`: seconds to shut down in."""

    type = MachineType.LIBVIRT
    updates_live = False

    def __init__(
        self,
        ident: str,
        disks: Path,
        *,
        uri: str = "qemu:///system",
        grace: float = GRACE,
        accelerator: str = "",
    ) -> None:
        self._disks = disks.absolute()
        self._grace = grace
        self._accelerator = accelerator or virtualisation()
        self._cluster = ""
        self._making: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._watch = Watch(lambda handle: self.inspect(handle) is not None, self._touch)
        self._connection = Connection(uri, self._watch.tell, self._watch.lost)
        self.network = VmNetwork(ident, self._connection, self._addresses)

    def bind(self, cluster: str) -> None:
        self._cluster = cluster

    def watch(self, notify: Notify) -> None:
        self._watch.start(notify)
        self._watch.lost()  # so that its thread connects: who calls waits for no frozen libvirtd

    def _touch(self) -> None:
        with self._connection.use("connect"):
            pass

    def close(self) -> None:
        self._watch.close()
        self._connection.close()

    # -- seeing

    def observe(self) -> View:
        instances, foreign = [], []
        try:
            for domain, facts, state in self._all():
                if facts is not None and (label := self._own(facts)) is not None:
                    self._watch.know(facts.uuid)
                    instances.append(instance_of(facts, label, state))
                else:
                    with suppress(Gone), self._connection.use("name a domain"):
                        foreign.append(Foreign(type=self.type, name=domain.name()))
        except DriverError as error:
            return View(error=str(error))
        return View(tuple(instances), tuple(foreign))

    def strangers(self) -> tuple[Foreign, ...]:
        if (view := self.observe()).error:
            raise DriverError(view.error)
        return view.foreign

    def inspect(self, handle: str) -> Instance | None:
        try:
            domain, facts, label = self._ours(handle)
            return instance_of(facts, label, self._state(domain))
        except Gone:
            return None

    def _all(self) -> Iterator[tuple[Any, Domain | None, State]]:
        with self._connection.use("list the machines") as conn:
            listed = conn.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE)
        for domain, stats in listed:
            with suppress(Gone):
                state = stats.get("state.state", 0), stats.get("state.reason", 0)
                yield domain, self._facts(domain), state

    def _addresses(self, network: str) -> Mapping[str, str]:
        """Of whatever cluster: what hangs on our network takes addresses of it."""
        return {
            facts.uuid: facts.label.ip
            for _, facts, _ in self._all()
            if facts is not None and facts.label is not None and facts.network == network
        }

    def _facts(self, domain: Any) -> Domain | None:
        with self._connection.use("read a domain"):
            xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        try:
            return parse_domain(xml)
        except (ValueError, SyntaxError):
            return None

    def _own(self, facts: Domain) -> Label | None:
        label = facts.label
        return label if label is not None and label.cluster == self._cluster else None

    def _find(self, handle: str) -> tuple[Any, Domain, Label] | None:
        """The domain; None for one that is not ours. Raises Gone for what is not there."""
        if not HANDLE.fullmatch(handle):
            raise Gone("there is no such machine")
        with self._connection.use("find the machine") as conn:
            domain = conn.lookupByUUIDString(handle)
        facts = self._facts(domain)
        if facts is None or (label := self._own(facts)) is None:
            return None
        return domain, facts, label

    def _ours(self, handle: str) -> tuple[Any, Domain, Label]:
        found = self._find(handle)
        if found is None:
            raise Gone("the domain is not ours")
        return found

    def _state(self, domain: Any) -> State:
        with self._connection.use("look at the machine"):
            state, reason = domain.state()
        return state, reason

    # -- making

    def prepare(self, image: ImageRef, path: Path | None) -> int:
        self._base(image, path)
        return 0

    def _base(self, image: ImageRef, path: Path | None) -> Path:
        if path is None:
            raise Refused(f"a VM cannot start from a {image.format} image")
        check_base(path, image.format)
        make_readable(path)
        return path.absolute()

    def discard(self, image: ImageRef) -> None:
        """Nothing was made of it: VMs start from the file itself."""

    def create(self, placement: Placement, image: Path | None) -> Instance:
        handle = domain_uuid(placement.uid, placement.epoch)
        with self._making[handle]:
            try:
                domain, facts, label = self._ours(handle)
            except Gone:
                self._define(placement, self._base(placement.image, image), handle)
                domain, facts, label = self._ours(handle)
            self._provide_disk(facts, label)
        self._watch.know(handle)
        return instance_of(facts, label, self._state(domain))

    def _define(self, placement: Placement, image: Path, handle: str) -> None:
        address = self.network.take(handle)
        try:
            self._define_at(address, placement, image, handle)
        except EngineDown:  # it may have been defined: whoever removes it gives the address up
            raise
        except DriverError:
            with suppress(DriverError):
                self._free(handle)
            raise

    def _define_at(
        self, address: IPv4Address, placement: Placement, image: Path, handle: str
    ) -> None:
        label = Label(
            cluster=self._cluster,
            uid=placement.uid,
            epoch=placement.epoch,
            digest=placement.digest,
            name=placement.name,
            ip=str(address),
        )
        try:
            xml = domain_xml(
                label,
                virtualisation=self._accelerator,
                memory=placement.memory,
                cpus=placement.cpus,
                disk=self._disk(label),
                base=image,
                base_format=placement.image.format,
                network=self.network.name,
                mac=self.network.mac(address),
            )
        except ValueError as error:
            raise Refused(str(error)) from None
        self._refuse_stranger(domain_name(label.name, label.uid, label.epoch), handle)
        with self._connection.use(f"define {placement.name}") as conn:
            conn.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)

    def _refuse_stranger(self, name: str, handle: str) -> None:
        """libvirt would refuse it too, but in the words of an error that may pass."""
        with suppress(Gone), self._connection.use("look for its name") as conn:
            if conn.lookupByName(name).UUIDString() != handle:
                raise Refused(f"a domain {name} exists already, and it is not ours")

    def _disk(self, label: Label) -> Path:
        return self._disks / f"{label.uid}.{label.epoch}.qcow2"

    def _provide_disk(self, facts: Domain, label: Label) -> None:
        """A machine that has run is never given an empty disk in place of a lost one."""
        if label.ran:
            return
        try:
            self._disks.mkdir(mode=0o711, parents=True, exist_ok=True)
        except OSError as error:
            raise DriverError(f"cannot make the directory for disks: {error.strerror}") from None
        create_overlay(self._disk(label), Path(facts.base), facts.base_format)

    def update(self, handle: str, placement: Placement) -> None:
        domain, facts, _ = self._ours(handle)
        with self._connection.use(f"resize {facts.name}") as conn:
            xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
            try:
                xml = resized(xml, placement.memory, placement.cpus)
            except ValueError as error:
                raise Refused(str(error)) from None
            conn.defineXML(xml)

    # -- running

    def start(self, handle: str) -> None:
        domain, facts, label = self._ours(handle)
        with self._making[handle]:
            self._provide_disk(facts, label)
        try:
            self._boot(domain, facts.name)
        except Gone:  # the network: it does not outlive the host
            self.network.ensure()
            self._boot(domain, facts.name)
        if label.halted or not label.ran:
            self._mark(domain, replace(label, ran=True, halted=False))

    def _boot(self, domain: Any, name: str) -> None:
        try:
            with self._connection.use(f"start {name}"):
                domain.create()
        except WrongState:
            if life(self._state(domain)) is not Life.RUNNING:
                raise

    def _mark(self, domain: Any, label: Label) -> None:
        """A domain that somebody undefined while it runs takes no mark; it is gone when it ends."""
        kind, config = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CONFIG
        with suppress(Gone, WrongState), self._connection.use("mark the machine"):
            domain.setMetadata(kind, label_xml(label), PREFIX, NAMESPACE, config)

    def stop(self, handle: str) -> None:
        with suppress(Gone), self._watch.stopping(handle) as stopped:
            domain, facts, label = self._ours(handle)
            now = life(self._state(domain))
            if now is Life.STOPPED:
                return
            with suppress(Busy):  # killed it is all the same
                self._mark(domain, replace(label, ran=True, halted=True))
            if now is Life.PAUSED or not self._ask(domain, stopped):
                self._kill(domain, facts.name)

    def _ask(self, domain: Any, stopped: threading.Event) -> bool:
        """Press the power button, and again; true when the machine has stopped in time.

        A frozen qemu holds the call that presses until it is killed, hence the thread.
        """
        deadline = time.monotonic() + self._grace
        press: threading.Thread | None = None
        while (left := deadline - time.monotonic()) > 0:
            if press is None or not press.is_alive():
                press = threading.Thread(
                    target=self._press, args=[domain], name="libvirt-power-button", daemon=True
                )
                press.start()
            if stopped.wait(min(left, PRESS_AGAIN)) or not self._active(domain):
                return True
        return False

    def _press(self, domain: Any) -> None:
        # Why a press fails does not matter: a machine that does not hear is killed.
        with suppress(DriverError), self._connection.use("press the power button"):
            domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

    def _kill(self, domain: Any, name: str) -> None:
        try:
            with self._connection.use(f"kill {name}"):
                domain.destroy()
        except WrongState:
            if self._active(domain):
                raise

    def _active(self, domain: Any) -> bool:
        with self._connection.use("look at the machine"):
            return bool(domain.isActive())

    # -- removing

    def remove(self, handle: str) -> None:
        try:
            found = self._find(handle)
        except Gone:
            self._remove_disks(lambda uid, epoch: domain_uuid(uid, epoch) == handle)
            self._forget(handle)
            return
        if found is None:
            return
        domain, facts, label = found
        with self._making[handle]:
            with suppress(Gone):
                self._kill(domain, facts.name)
            remove_disk(self._disk(label))
            with suppress(Gone), self._connection.use(f"remove {facts.name}"):
                domain.undefineFlags(UNDEFINE)
        self.network.release(handle)
        self._making.pop(handle, None)

    def _forget(self, handle: str) -> None:
        with self._making[handle]:  # who makes it has an address before there is a domain
            self._free(handle)
        self._making.pop(handle, None)

    def _free(self, handle: str) -> None:
        """Give up the address of a machine, unless libvirt has a domain that may use it."""
        try:
            self._find(handle)
        except Gone:
            self.network.release(handle)

    def _remove_disks(self, doomed: Callable[[Uid, int], bool]) -> None:
        for uid, epoch, path in self._list_disks():
            if doomed(uid, epoch):
                remove_disk(path)

    def _list_disks(self) -> list[tuple[Uid, int, Path]]:
        paths = list(self._disks.iterdir()) if self._disks.is_dir() else []
        found = ((DISK_NAME.fullmatch(path.name), path) for path in paths)
        return [(Uid(name[1]), int(name[2]), path) for name, path in found if name]

    def erase(self, uid: Uid, epoch: int) -> None:
        """Remove disks of `uid` up to `epoch` whose domain somebody else has removed, and addresses."""
        disks = self._list_disks()  # first: a machine that is made meanwhile is a domain by then
        present = {facts.uuid for _, facts, _ in self._all() if facts is not None}
        gone = {domain_uuid(uid, epoch)} - present
        for owner, version, path in disks:
            ours = owner == uid and version <= epoch
            if ours and (handle := domain_uuid(owner, version)) not in present:
                remove_disk(path)
                gone.add(handle)
        for handle in gone:
            self._forget(handle)

    def leave(self) -> None:
        """Remove the network. What hangs on it is cut off: remove the machines first."""
        self.network.destroy()
