"""The import linter's contracts hold, and each breaks, by its name, when somebody breaks its rule."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINTER = Path(sys.executable).with_name("lint-imports")
PACKAGES = ("iaasctl", "reconciler", "hyper", "manifests")

FAULTS = {
    "chance in a decision": (
        "reconciler/core/scheduling/policies.py",
        "import random",
        "Decisions do no I/O",
    ),
    "a clock in the agent's decision": (
        "hyper/core/backoff.py",
        "from time import monotonic",
        "Decisions do no I/O",
    ),
    "a file in the wire types, through another module": (
        "manifests/wire.py",
        "import manifests.tokens",
        "Decisions do no I/O",
    ),
    "the database in the API": (
        "reconciler/api/objects.py",
        "import peewee",
        "Each SDK has one home",
    ),
    "git outside of the watcher": (
        "reconciler/api/sources.py",
        "import dulwich",
        "Each SDK has one home",
    ),
    "the API reads directories": (
        "reconciler/api/sources.py",
        "import reconciler.watch.plain",
        "The control plane is a shell around a pure core",
    ),
    "an engine's SDK in the agent": ("hyper/workers.py", "import docker", "Each SDK has one home"),
    "a control-plane module in no layer": (
        "reconciler/helpers.py",
        "",
        "The control plane is a shell around a pure core",
    ),
    "an agent module in no layer": (
        "hyper/helpers.py",
        "",
        "The agent is a shell around a pure core",
    ),
    "the store asks the API": (
        "reconciler/store/rows.py",
        "import reconciler.api.http",
        "The control plane is a shell around a pure core",
    ),
    "a driver asks the agent": (
        "hyper/drivers/simulated.py",
        "import hyper.agent",
        "The agent is a shell around a pure core",
    ),
    "one engine leans on another": (
        "hyper/drivers/docker.py",
        "import hyper.drivers.qemu_img\nimport hyper.drivers.libvirt",
        "Engines know nothing of one another",
    ),
    "the client reaches into the agent": (
        "iaasctl/client.py",
        "import hyper.api",
        "The three programs share nothing but the manifests",
    ),
    "the manifests lean on a program": (
        "manifests/load.py",
        "import reconciler.signal",
        "The three programs share nothing but the manifests",
    ),
    "YAML in the agent, through a shared module": (
        "manifests/imageformat.py",
        "import manifests.guard",
        "The agent runs on a bare Debian host",
    ),
    "YAML in the control plane": (
        "reconciler/api/body.py",
        "import yaml",
        "YAML is read by the manifests alone",
    ),
    "a terminal in the control plane": (
        "reconciler/main.py",
        "import click",
        "Only iaasctl speaks to a terminal",
    ),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def broken(tree: Path) -> tuple[set[str], str]:
    """(names of the broken contracts, all that the linter said)."""
    command = [LINTER, "--no-cache"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    names = {line.partition(" BROKEN")[0] for line in said.splitlines() if " BROKEN" in line}
    assert done.returncode == (1 if names else 0), said
    return names, said


def test_the_rules_hold(tree: Path) -> None:
    names, said = broken(tree)
    assert not names, said


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_breaks_its_rule(tree: Path, fault: str) -> None:
    file, line, contract = FAULTS[fault]
    path = tree / file
    with path.open("a") as module:
        module.write(f"\n{line}\n")
    names, said = broken(tree)
    assert contract in names, said
