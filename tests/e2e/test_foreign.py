"""What is not ours is shown and left alone, whatever it is called; and a purge takes all that is ours."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.e2e.conftest import Labs
from tests.e2e.documents import image, machine, node, vm
from tests.e2e.engines import Engines, said
from tests.e2e.lab import Lab
from tests.e2e.ports import free_port, until

pytestmark = [pytest.mark.docker, pytest.mark.libvirt, pytest.mark.timeout(120)]

DOMAIN = """\
<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory>
<os><type arch='x86_64'>hvm</type></os></domain>"""
CONTAINER = "iaas-web-e2e0f0f0"
VM = "iaas-web-e2e0f0f0-1"


@pytest.fixture
def lab(labs: Labs) -> Lab:
    return labs()


@pytest.fixture
def strangers(engines: Engines, idle: Path) -> Iterator[list[str]]:
    """A container and a VM that are called like ours, without our label; and one like ours of a
    cluster that there is not."""
    with idle.open("rb") as file:
        (loaded,) = engines.docker.images.load(file)
    plain = engines.docker.containers.run(loaded.id, name=CONTAINER, detach=True)
    labels = {"iaas.cluster": "nobody", "iaas.uid": "e2e", "iaas.name": "web", "iaas.epoch": "1"}
    other = engines.docker.containers.run(
        loaded.id, name=f"{CONTAINER}-other", detach=True, labels=labels
    )
    domain = engines.libvirt.defineXML(DOMAIN.format(name=VM))
    try:
        yield [CONTAINER, f"{CONTAINER}-other", VM]
    finally:
        domain.undefine()
        for container in (plain, other):
            container.remove(force=True, v=True)
        with contextlib.suppress(docker.errors.APIError):  # a lab may have it still
            engines.docker.images.remove(loaded.id)


def test_strangers_are_reported_and_survive_everything(
    lab: Lab, engines: Engines, strangers: list[str], idle: Path, vm_image: Path
) -> None:
    port = free_port()
    base = [node(lab), image("idle", idle), image("vm", vm_image)]
    ours = [machine("web", "idle", port=port), vm("vm")]
    lab.apply(*base, *ours)
    until("all are reported", lambda: set(strangers) <= foreign(lab))
    own = engines.container(lab, "web")["Name"].lstrip("/"), engines.domain(lab, "vm").name()
    assert not set(own) & foreign(lab)
    assert alive(engines, strangers)

    lab.apply(*base)
    assert (engines.containers(lab), engines.domains(lab)) == ([], [])
    assert alive(engines, strangers)

    lab.apply(*base, *ours)
    cluster = lab.cluster
    purged = lab.purge()
    print(purged.out)
    assert purged.code == 0
    assert lab.cluster == cluster
    assert engines.leftovers(lab) == []
    assert alive(engines, strangers)


def foreign(lab: Lab) -> set[str]:
    return {item["name"] for item in lab.get("node", "n1")["foreign"]}


def alive(engines: Engines, strangers: list[str]) -> bool:
    try:
        plain, other = (engines.docker.containers.get(name) for name in strangers[:2])
    except docker.errors.NotFound:
        return False
    states = {found.status for found in (plain, other)}
    return states == {"running"} and VM in said("virsh", "list", "--all", "--name").split()
