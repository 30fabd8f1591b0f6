"""The lab's text, command by command, with its own words, on real Docker and libvirt."""

from pathlib import Path

import pytest

from tests.e2e.conftest import Labs
from tests.e2e.lab import Lab
from tests.e2e.ports import answers, free_port, until

pytestmark = [pytest.mark.docker, pytest.mark.libvirt, pytest.mark.timeout(200)]

NOT_FOUND, CONFLICT = 4, 5


@pytest.fixture(scope="module")
def lab(labs: Labs) -> Lab:
    return labs()


def rows(lab: Lab, *words: str) -> dict[str, list[str]]:
    """Name -> cells of an `ls`."""
    _, *lines = lab.ctl(*words).out.splitlines() or [""]
    return {line.split()[0]: line.split() for line in lines}


def added(lab: Lab, *words: str) -> str:
    """The id, which is all that goes to standard output."""
    id_ = lab.ctl("vm", "add", *words).out.removesuffix("\n")
    assert lab.machine(id_)["id"] == id_
    return id_


def test_the_lab_from_top_to_bottom(lab: Lab, web: Path, vm_image: Path) -> None:
    # 4. nodes
    lab.ctl("node", "add", "n1", f"127.0.0.1:{lab.agent_port}")
    until("n1 is ready", lambda: rows(lab, "node", "ls", "state=ready"))
    assert rows(lab, "node", "ls")["n1"][1:3] == ["ready", f"127.0.0.1:{lab.agent_port}"]
    assert lab.ctl("node", "add", "n1", "127.0.0.1:1", code=CONFLICT).out == ""

    # 5. images
    lab.ctl("img", "add", "nginx", str(web))
    lab.ctl("img", "add", "debian", str(vm_image))
    assert {name: cells[2:4] for name, cells in rows(lab, "img", "ls").items()} == {
        "nginx": ["docker", "docker-archive"],
        "debian": ["libvirt", "qcow2"],
    }

    # 6. machines
    vm_port, web_port = free_port(), free_port()
    vm = added(lab, "debian", "-t", "libvirt", "-m", "128", "-n", "n1", "-p", f"{vm_port}:80")
    box = added(lab, "nginx", "-t", "docker", "-m", "32Mi", "-n", "n1", "-p", f"{web_port}:80")
    assert "hello from container" in until("the container answers", lambda: answers(web_port))
    assert "hello from VM" in until("the VM answers", lambda: answers(vm_port))
    shown = rows(lab, "vm", "ls", "state=running", "node=n1")
    assert len(shown) == 2
    assert {cells[6] for cells in shown.values()} == {vm[:8], box[:8]}

    # 6.1 a port that is taken
    taken = lab.ctl("vm", "add", "nginx", "-n", "n1", "-p", f"{vm_port}:80", code=CONFLICT)
    assert (taken.out, lab.machine(vm)["name"] in taken.err) == ("", True)
    assert len(lab.get("machines")) == 2

    # what is used stays
    for words in (("img", "rm", "nginx"), ("img", "rm", "debian"), ("node", "rm", "n1")):
        assert lab.machine(box)["name"] in lab.ctl(*words, code=CONFLICT).err or "debian" in words

    # stopping and starting, by ids cut short
    lab.ctl("vm", "stop", vm[:8], box[:8], "--wait")
    assert (answers(web_port), answers(vm_port)) == ("", "")
    assert len(rows(lab, "vm", "ls", "state=stopped")) == 2
    assert rows(lab, "vm", "ls", "state=running") == {}
    lab.ctl("vm", "start", vm[:8], box[:8], "--wait")
    assert "hello from container" in until("it answers again", lambda: answers(web_port))
    assert "hello from VM" in until("it answers again", lambda: answers(vm_port))

    # 6.2 without a node one is chosen, where the port is free
    third = added(lab, "nginx", "-m", "32", "--name", "third", "-p", f"{free_port()}:80", "--wait")
    assert lab.machine(third)["node"] == "n1"

    # all of it goes
    lab.ctl("vm", "rm", vm[:8], box, "third", "--wait")
    assert (answers(web_port), answers(vm_port)) == ("", "")
    assert lab.ctl("vm", "rm", vm, code=NOT_FOUND).out == ""
    lab.ctl("img", "rm", "nginx", "debian", "--wait")
    lab.ctl("node", "rm", "n1", "--wait")
    assert [lab.ctl(kind, "ls").out for kind in ("vm", "img", "node")] == ["", "", ""]
