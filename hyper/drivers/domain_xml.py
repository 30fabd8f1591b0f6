"""Domain and network XML: from values to text and back, by an XML builder only, never by formatting.

Here: what a VM of ours looks like to libvirt. Not here: talking to libvirt.
"""

import re
import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from manifests.kinds.image import ImageFormat
from manifests.scalars import Cpus, Memory, Name, Uid

NAMESPACE = "https://iaas.invalid/1"
PREFIX = "iaas"
LABEL_TAG = f"{{{NAMESPACE}}}instance"
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

ET.register_namespace(PREFIX, NAMESPACE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """Our metadata element in a domain.

    `ran`: it was started at least once. `halted`: its last end was asked for by us.
    """

    cluster: str
    uid: Uid
    epoch: int
    digest: str
    name: str
    ip: str
    ran: bool = False
    halted: bool = False

    @property
    def uuid(self) -> str:
        return domain_uuid(self.uid, self.epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """What we need back from a domain's XML. `label` is None where it is not ours."""

    uuid: str
    name: str
    memory: Memory
    cpus: Cpus
    label: Label | None
    network: str = ""
    disk: str = ""
    base: str = ""
    base_format: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    name: str
    bridge: str
    subnets: tuple[IPv4Network, ...]


def domain_uuid(uid: str, epoch: int) -> str:
    """The domain's UUID: another epoch is another domain, the same one is always the same."""
    return str(uuid.uuid5(uuid.UUID(uid), str(epoch)))


def domain_name(name: str, uid: str, epoch: int) -> str:
    """For people. The epoch is in it: two epochs of a machine may meet on a node for a while."""
    return f"{PREFIX}-{Name.from_json(name)}-{uid[:8]}-{epoch}"


def domain_xml(
    label: Label,
    *,
    virtualisation: str,
    memory: Memory,
    cpus: Cpus,
    disk: Path,
    base: Path,
    base_format: ImageFormat,
    network: str,
    mac: str,
) -> str:
    """A VM with few devices, so that it boots fast. Raises ValueError for what XML cannot hold."""
    root = ET.Element("domain", type=virtualisation)
    _text(root, "name", domain_name(label.name, label.uid, label.epoch))
    _text(root, "uuid", label.uuid)
    ET.SubElement(root, "metadata").append(_label_element(label))
    _text(root, "memory", str(int(memory)), unit="MiB")
    _text(root, "vcpu", str(_whole(cpus)))
    system = ET.SubElement(root, "os")
    _text(system, "type", "hvm", arch="x86_64", machine="pc")
    ET.SubElement(system, "boot", dev="hd")
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if virtualisation == "kvm":
        ET.SubElement(root, "cpu", mode="host-passthrough")
    _text(root, "on_poweroff", "destroy")
    _text(root, "on_reboot", "restart")
    _text(root, "on_crash", "destroy")
    devices = ET.SubElement(root, "devices")
    devices.append(_disk(disk, base, base_format))
    interface = ET.SubElement(devices, "interface", type="network")
    ET.SubElement(interface, "mac", address=mac)
    ET.SubElement(interface, "source", network=network)
    ET.SubElement(interface, "model", type="virtio")
    ET.SubElement(ET.SubElement(devices, "serial", type="pty"), "target", port="0")
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(devices, "memballoon", model="none")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    return _write(root)


def _disk(disk: Path, base: Path, base_format: ImageFormat) -> ET.Element:
    """The whole chain is spelt out and ends at `base`: nothing the image says is followed. libvirt
    hands the overlay to qemu's user, but not the base, which other machines start from too."""
    element = ET.Element("disk", type="file", device="disk")
    ET.SubElement(element, "driver", name="qemu", type="qcow2", discard="unmap")
    ET.SubElement(element, "source", file=str(disk))
    backing = ET.SubElement(element, "backingStore", type="file")
    ET.SubElement(backing, "format", type=base_format.value)
    source = ET.SubElement(backing, "source", file=str(base))
    ET.SubElement(source, "seclabel", model="dac", relabel="no")
    ET.SubElement(backing, "backingStore")
    ET.SubElement(element, "target", dev="vda", bus="virtio")
    return element


def resized(xml: str, memory: Memory, cpus: Cpus) -> str:
    """The domain XML of libvirt with another size, all else as it is."""
    root = _read(xml)
    for old in root.findall("currentMemory"):
        root.remove(old)
    for tag, value, unit in (
        ("memory", str(int(memory)), "MiB"),
        ("vcpu", str(_whole(cpus)), ""),
    ):
        element = root.find(tag)
        if element is None:
            element = ET.SubElement(root, tag)
        element.clear()
        element.text = value
        if unit:
            element.set("unit", unit)
    return _write(root)


def _whole(cpus: Cpus) -> int:
    if cpus % 1000 or cpus <= 0:
        raise ValueError(f"{cpus} processors: a VM has whole ones")
    return cpus // 1000


def label_xml(label: Label) -> str:
    """As virDomainSetMetadata wants it: it adds the namespace itself, and fails over one it finds."""
    element = _label_element(label)
    element.tag = "instance"
    return _write(element)


def _label_element(label: Label) -> ET.Element:
    values = {
        "cluster": label.cluster,
        "uid": label.uid,
        "epoch": str(label.epoch),
        "digest": label.digest,
        "name": label.name,
        "ip": label.ip,
    }
    flags = {flag: "yes" for flag in ("ran", "halted") if getattr(label, flag)}
    return ET.Element(LABEL_TAG, values | flags)


def parse_domain(xml: str) -> Domain:
    """`xml` as libvirt gives it for the persistent definition of a domain, ours or not."""
    root = _read(xml)
    ident = root.findtext("uuid", "")
    kib = root.findtext("memory", "0")
    disk = root.find("devices/disk[@device='disk']")
    return Domain(
        uuid=ident,
        name=root.findtext("name", ""),
        memory=Memory(int(kib) // 1024),
        cpus=Cpus(int(root.findtext("vcpu", "0")) * 1000),
        label=_parse_label(root.find(f"metadata/{LABEL_TAG}"), ident),
        network=_attribute(root, "devices/interface/source", "network"),
        disk=_attribute(disk, "source", "file"),
        base=_attribute(disk, "backingStore/source", "file"),
        base_format=_attribute(disk, "backingStore/format", "type"),
    )


def _parse_label(element: ET.Element | None, ident: str) -> Label | None:
    """Strict: a domain that somebody cloned, or wrote by hand, with our element in it is not ours."""
    if element is None:
        return None
    get = element.get
    try:
        label = Label(
            cluster=get("cluster", ""),
            uid=Uid.from_json(get("uid")),
            epoch=int(get("epoch", "")),
            digest=get("digest", ""),
            name=get("name", ""),
            ip=str(IPv4Address(get("ip", ""))),
            ran=get("ran") == "yes",
            halted=get("halted") == "yes",
        )
    except ValueError:
        return None
    return label if label.cluster and label.uuid == ident else None


def _attribute(parent: ET.Element | None, path: str, name: str) -> str:
    found = None if parent is None else parent.find(path)
    return "" if found is None else found.get(name, "")


def network_xml(name: str, bridge: str, subnet: IPv4Network, hosts: dict[str, IPv4Address]) -> str:
    """A NAT network with an address for each MAC of `hosts` and for no other; leases never end."""
    root = ET.Element("network")
    _text(root, "name", name)
    _text(root, "uuid", str(uuid.uuid5(uuid.NAMESPACE_URL, f"{NAMESPACE}/network/{name}")))
    ET.SubElement(root, "forward", mode="nat")
    ET.SubElement(root, "bridge", name=bridge, stp="off", delay="0")
    ip = ET.SubElement(
        root, "ip", address=str(subnet.network_address + 1), netmask=str(subnet.netmask)
    )
    dhcp = ET.SubElement(ip, "dhcp")
    for mac, address in hosts.items():
        host = ET.SubElement(dhcp, "host", mac=mac, ip=str(address))
        ET.SubElement(host, "lease", expiry="0")
    return _write(root)


def parse_network(xml: str) -> Network:
    root = _read(xml)
    return Network(
        name=root.findtext("name", ""),
        bridge=_attribute(root, "bridge", "name"),
        subnets=tuple(
            IPv4Network((address, ip.get("netmask") or ip.get("prefix") or "32"), strict=False)
            for ip in root.findall("ip")
            if ip.get("family", "ipv4") == "ipv4" and (address := ip.get("address"))
        ),
    )


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text


def _write(root: ET.Element) -> str:
    for element in root.iter():
        for value in (element.text or "", *element.attrib.values()):
            if bad := NOT_XML.search(value):
                raise ValueError(f"{value!r} holds the character {bad[0]!r}")
    return ET.tostring(root, encoding="unicode")


def _read(xml: str) -> ET.Element:
    return ET.fromstring(xml)  # noqa: S314 - written by libvirt, which has parsed it before us
