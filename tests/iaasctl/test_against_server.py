"""The program against the real API: the contract as both sides understand it. No agents, no sockets."""

import json
from pathlib import Path

import pytest

from iaasctl.client import Client
from iaasctl.main import main
from iaasctl.session import Session
from tests.iaasctl.conftest import Ran, Run
from tests.iaasctl.wsgi import WsgiTransport
from tests.reconciler.world import ADMIN, World

SET = """\
apiVersion: iaas/v1
kind: Node
metadata: {name: n1}
spec: {address: "127.0.0.1:7701"}
---
apiVersion: iaas/v1
kind: Image
metadata: {name: disk}
spec: {type: libvirt, format: raw, file: disk.raw}
---
apiVersion: iaas/v1
kind: Machine
metadata: {name: vm1, labels: {app: shop}}
spec: {image: disk, memory: 128Mi}
"""


@pytest.fixture
def go(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("IAAS_TRACEBACK", "1")
    client = Client(WsgiTransport(World(tmp_path / "world").app, ADMIN), patience=0)

    def run(*words: str) -> Ran:
        return Ran(main(list(words), Session(lambda *_: client)), *capfd.readouterr())

    return run


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "disk.raw").write_bytes(b"\0" * 4096)
    path = tmp_path / "shop.yaml"
    path.write_text(SET)
    return path


def test_apply_change_and_delete(go: Run, shop: Path) -> None:
    first = go("apply", "-f", str(shop))
    assert first.out.splitlines()[-1] == "3 to create"
    again = go("apply", "-f", str(shop))
    assert (again.code, again.out) == (0, "no changes\n")
    shop.write_text(SET.replace("128Mi", "256Mi").replace("app: shop", "app: other"))
    changed = go("diff", "-f", str(shop))
    assert (changed.code, changed.out.splitlines()[-1]) == (2, "1 to update")
    assert "memory  128Mi -> 256Mi" in changed.out
    gone = go("delete", "-f", str(shop))
    assert (gone.code, gone.out.splitlines()[-1]) == (0, "3 to delete")


def test_what_is_no_longer_named_is_deleted(go: Run, shop: Path) -> None:
    go("apply", "-f", str(shop))
    shop.write_text(SET.rpartition("---\n")[0])
    assert go("plan", "-f", str(shop), "--no-prune").out == "no changes\n"
    assert go("plan", "-f", str(shop)).out.startswith("- delete machine vm1")


def test_the_audit_of_real_changes_and_refusals(shop: Path, go: Run) -> None:
    go("apply", "-f", str(shop))
    assert go("delete", "vm", "other").code != 0
    upload, created, refused = go("audit", "-o", "wide").out.splitlines()[1:]
    assert " upload " in upload
    assert "image/disk,machine/vm1,node/n1" in created
    assert created.endswith("set:shop: 3 created")
    assert " refuse " in refused


def test_get_describe_and_events_of_real_objects(go: Run, shop: Path) -> None:
    go("apply", "-f", str(shop))
    assert go("get", "all", "-o", "name").out == "node/n1\nimage/disk\nmachine/vm1\n"
    assert go("get", "vm", "state=pending", "-l", "app=shop", "-o", "name").out == "machine/vm1\n"
    (item,) = json.loads(go("get", "vm", "-o", "json").out)
    assert json.loads(go("get", "vm", item["id"], "-o", "json").out) == item
    for kind, name in (("node", "n1"), ("image", "disk"), ("machine", "vm1")):
        text = go("describe", kind, name).out
        assert name in text
        assert "Created" in text
    assert go("events", "machine/vm1", "-o", "json").out.count('"Created"') == 1
    assert go("get", "vm", "nope").code == 4
    assert go("get", "vm", "colour=red").code == 2
    assert go("version").code == 0


def test_a_set_that_cannot_be_placed_times_out(go: Run, shop: Path) -> None:
    ran = go("apply", "-f", str(shop), "--wait", "--timeout", "0s")
    assert (ran.code, "machine/vm1 is pending" in ran.err) == (3, True)


def test_faults_that_only_the_server_sees_have_their_place(go: Run, shop: Path) -> None:
    shop.write_text(SET.replace("format: raw", "format: qcow2"))
    ran = go("apply", "-f", str(shop))
    assert ran.code == 2
    assert ran.err.startswith(f"{shop}:9:")
    assert "spec.format: the file" in ran.err


def test_faults_of_the_schema_have_their_place(go: Run, shop: Path) -> None:
    shop.write_text(SET.replace("memory: 128Mi", "memroy: 128Mi, cpus: 0"))
    ran = go("plan", "-f", str(shop))
    assert ran.code == 1
    assert f"{shop}:14:21: spec.memroy: unknown field; did you mean 'memory'?" in ran.err
    assert "spec.cpus" in ran.err


def test_conflicts(go: Run, shop: Path) -> None:
    go("apply", "-f", str(shop))
    other = go("apply", "-f", str(shop), "--set", "other")
    assert (other.code, "belongs to set:shop" in other.err) == (5, True)
    used = go("delete", "image", "disk")
    assert (used.code, "in use by machine 'vm1'" in used.err) == (5, True)
    assert go("delete", "vm", "nope").code == 4


def test_a_wrong_token_is_exit_6(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    client = Client(WsgiTransport(World(tmp_path).app, "wrong"), patience=0)
    assert main(["get", "vm"], Session(lambda *_: client)) == 6
    assert "--token-file" in capfd.readouterr().err
