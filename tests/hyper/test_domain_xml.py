"""Domain and network XML, without libvirt."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from hyper.drivers.domain_xml import (
    LABEL_TAG,
    NAMESPACE,
    Label,
    domain_name,
    domain_uuid,
    domain_xml,
    label_xml,
    network_xml,
    parse_domain,
    parse_network,
    resized,
)
from hyper.drivers.libvirt import virtualisation
from hyper.drivers.libvirt_network import free_subnets, routes
from manifests.kinds.image import ImageFormat
from manifests.scalars import Cpus, Memory, Uid

UID = Uid("0b0e7a3c-1f7e-4f0e-9a53-0f6c9d2f4a11")
LABEL = Label(cluster="c1", uid=UID, epoch=3, digest="d" * 64, name="web", ip="10.77.0.9")
HOSTILE = [
    "'/><evil a='",
    '"><on_poweroff>restart</on_poweroff><x a="',
    "&amp;&lt;&xxe;",
    "]]><!--",
    "<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>",
    "{0} %s $x `id`",
    "line\nbreak\ttab",
    "ünïcode \U0001f600",
]


def built(label: Label = LABEL, **changes: Any) -> str:
    values: dict[str, Any] = {
        "virtualisation": "qemu",
        "memory": Memory(256),
        "cpus": Cpus(2000),
        "disk": Path("/disks/x.qcow2"),
        "base": Path("/images/base"),
        "base_format": ImageFormat.RAW,
        "network": "iaas-n1",
        "mac": "52:54:00:aa:bb:09",
    }
    return domain_xml(label, **(values | changes))


def test_what_is_built_is_read_back() -> None:
    domain = parse_domain(in_kib(built()))

    assert domain.label == LABEL
    assert (domain.uuid, domain.name) == (LABEL.uuid, "iaas-web-0b0e7a3c-3")
    assert (domain.memory, domain.cpus) == (256, 2000)
    assert (domain.disk, domain.base, domain.base_format) == (
        "/disks/x.qcow2",
        "/images/base",
        "raw",
    )
    assert domain.network == "iaas-n1"


def in_kib(xml: str) -> str:
    """libvirt says every amount in KiB."""
    root = ET.fromstring(xml)
    memory = root.find("memory")
    assert memory is not None
    memory.text = str(int(memory.text or "") * 1024)
    return ET.tostring(root, encoding="unicode")


def test_the_flags_of_a_label_are_read_back() -> None:
    for ran in (False, True):
        for halted in (False, True):
            label = replace(LABEL, ran=ran, halted=halted)
            assert parse_domain(built(label)).label == label


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    label = replace(LABEL, cluster=text, digest=text)

    xml = built(label, disk=Path("/disks") / text, network=text)

    assert shape(xml) == shape(built())
    assert parse_domain(xml).label == label
    assert parse_domain(xml).network == text
    assert ET.fromstring(label_xml(label)).get("cluster") == text


def shape(xml: str) -> list[tuple[str, list[str]]]:
    return [(element.tag, sorted(element.attrib)) for element in ET.fromstring(xml).iter()]


@pytest.mark.parametrize("name", [*HOSTILE, "", "../x", "a/b", "A", "-a", "a" * 64, "web\n"])
def test_what_is_no_name_gets_no_domain(name: str) -> None:
    with pytest.raises(ValueError):
        built(replace(LABEL, name=name))


@pytest.mark.parametrize("char", ["\0", "\x01", "\x1b", "\x7f\x00", "\ud800", "\ufffe"])
def test_what_xml_cannot_hold_is_refused(char: str) -> None:
    with pytest.raises(ValueError):
        built(replace(LABEL, digest=f"a{char}b"))
    with pytest.raises(ValueError):
        label_xml(replace(LABEL, digest=f"a{char}b"))


@pytest.mark.parametrize("cpus", [500, 1500, 0, -1000])
def test_a_vm_has_whole_processors(cpus: int) -> None:
    with pytest.raises(ValueError, match="whole"):
        built(cpus=Cpus(cpus))
    with pytest.raises(ValueError, match="whole"):
        resized(built(), Memory(256), Cpus(cpus))


def test_the_backing_chain_is_spelt_out_and_ends() -> None:
    disk = ET.fromstring(built()).find("devices/disk")
    assert disk is not None
    end = disk.find("backingStore/backingStore")
    assert end is not None
    assert (end.attrib, list(end)) == ({}, [])
    relabel = disk.find("backingStore/source/seclabel")
    assert relabel is not None
    assert relabel.get("relabel") == "no"


def test_a_vm_ends_when_it_powers_off_or_crashes_and_has_no_screen() -> None:
    root = ET.fromstring(built())
    assert [root.findtext(f"on_{event}") for event in ("poweroff", "reboot", "crash")] == [
        "destroy",
        "restart",
        "destroy",
    ]
    assert root.find("devices/graphics") is None
    assert root.find("features/acpi") is not None


def test_resizing_changes_nothing_else() -> None:
    before = in_kib(built()).replace("</vcpu>", "</vcpu><currentMemory>1</currentMemory>")

    after = parse_domain(in_kib(resized(before, Memory(512), Cpus(4000))))

    assert after == replace(parse_domain(before), memory=Memory(512), cpus=Cpus(4000))
    assert "currentMemory" not in resized(before, Memory(512), Cpus(4000))


@pytest.mark.parametrize(
    "change",
    [
        {"cluster": ""},
        {"uid": "web"},
        {"uid": str(UID).upper()},
        {"epoch": "x"},
        {"epoch": "4"},
        {"ip": ""},
        {"ip": "10.0.0.1; x"},
    ],
)
def test_a_label_that_is_not_as_we_write_it_is_not_ours(change: dict[str, str]) -> None:
    root = ET.fromstring(built())
    element = root.find(f"metadata/{LABEL_TAG}")
    assert element is not None
    element.attrib.update(change)
    assert parse_domain(ET.tostring(root, encoding="unicode")).label is None


def test_a_clone_is_not_ours() -> None:
    assert parse_domain(built().replace(LABEL.uuid, str(UID))).label is None


def test_a_label_elsewhere_is_not_ours() -> None:
    for xml in (
        built().replace(NAMESPACE, "https://example.com/1"),
        built().replace("metadata>", "title>"),
    ):
        assert parse_domain(xml).label is None


def test_identity_is_uid_and_epoch() -> None:
    assert domain_uuid(UID, 1) == domain_uuid(UID, 1)
    assert len({domain_uuid(UID, epoch) for epoch in range(100)} | {str(UID)}) == 101
    assert domain_name("web", UID, 1) != domain_name("web", UID, 2)


def test_a_network_is_read_back() -> None:
    subnet = IPv4Network("10.77.3.0/24")
    xml = network_xml("iaas-n1", "viaasn1", subnet, {"52:54:00:00:00:02": subnet[2]})

    network = parse_network(xml)

    assert (network.name, network.bridge, network.subnets) == ("iaas-n1", "viaasn1", (subnet,))
    host = ET.fromstring(xml).find("ip/dhcp/host")
    assert host is not None
    assert host.get("ip") == "10.77.3.2"


def test_networks_of_others_are_read_too() -> None:
    xml = """<network><name>x</name><forward mode='bridge'/><ip family='ipv6' address='fd00::1'
        prefix='64'/><ip address='10.1.2.3' prefix='16'/><ip family='ipv4' address='10.9.0.1'
        netmask='255.255.255.0'/></network>"""
    assert parse_network(xml).subnets == (IPv4Network("10.1.0.0/16"), IPv4Network("10.9.0.0/24"))


def test_the_routes_of_the_host_are_read() -> None:
    table = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    )
    assert routes(table) == [IPv4Network("172.17.0.0/16")]


@pytest.mark.parametrize(
    ("taken", "first"),
    [
        ([], "10.77.0.0/24"),
        (["10.77.0.0/24", "10.77.1.128/25"], "10.77.2.0/24"),
        (["10.77.0.1/32"], "10.77.1.0/24"),
        (["10.0.0.0/8"], "172.29.0.0/24"),
        (["10.0.0.0/8", "172.16.0.0/12", "192.168.208.0/24"], "192.168.209.0/24"),
    ],
)
def test_the_first_free_subnet_is_taken(taken: list[str], first: str) -> None:
    assert next(free_subnets(map(IPv4Network, taken))) == IPv4Network(first)


def test_no_subnet_is_free_where_all_are_routed() -> None:
    assert list(free_subnets([IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")])) == []


@pytest.mark.parametrize(
    ("cpuinfo", "kind"),
    [
        ("flags\t\t: fpu vme vmx sse\n", "kvm"),
        ("flags : fpu svm\n", "kvm"),
        ("flags\t: fpu hypervisor svm_lock\nmodel name: vmx\n", "qemu"),
    ],
)
def test_kvm_takes_a_processor_that_virtualises(tmp_path: Path, cpuinfo: str, kind: str) -> None:
    (tmp_path / "kvm").touch()
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert virtualisation(tmp_path / "kvm", tmp_path / "cpuinfo") == kind
    assert virtualisation(tmp_path / "absent", tmp_path / "cpuinfo") == "qemu"


def test_addresses_and_macs_go_together() -> None:
    from hyper.drivers.libvirt_connection import Connection
    from hyper.drivers.libvirt_network import VmNetwork

    connection = Connection("test:///default", lambda *_: None, lambda: None)
    network = VmNetwork("n1", connection, lambda _: {})
    macs = {network.mac(address) for address in IPv4Network("10.77.0.0/24")}
    assert len(macs) == 256
    assert all(mac.startswith("52:54:00:") for mac in macs)
    assert network.mac(IPv4Address("10.77.0.9")) == network.mac(IPv4Address("10.77.5.9"))
