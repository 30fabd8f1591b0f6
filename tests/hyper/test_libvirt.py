"""What the libvirt driver does beyond the contract: real VMs, disks, networks, and daemons that die."""

import os
import shutil
import signal
import socket
import statistics
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

import libvirt
import pytest

from hyper.core.model import Instance, Life, Target
from hyper.drivers import DriverError, EngineDown, Refused, libvirt_connection, qemu_img
from hyper.drivers.domain_xml import domain_uuid
from hyper.drivers.libvirt import Libvirt
from hyper.drivers.libvirt_connection import Busy, start_event_loop
from hyper.drivers.qemu_img import check_base, create_overlay
from hyper.ports.nftables import Nftables
from manifests.kinds.image import ImageFormat, MachineType
from manifests.scalars import Cpus, Memory, Name, Port, Uid
from manifests.wire import Placement
from tests import vm_images
from tests.private_libvirtd import private_libvirtd

pytestmark = pytest.mark.libvirt
URI = "qemu:///system"
BOOT_SECONDS = 90.0


@dataclass
class Node:
    """An agent's driver, and what tests do to it."""

    directory: Path
    uri: str = URI
    ident: str = field(default_factory=lambda: uuid4().hex[:8])
    cluster: str = field(default_factory=lambda: str(uuid4()))
    drivers: list[Libvirt] = field(default_factory=list)

    def __post_init__(self) -> None:
        start_event_loop()
        self.path = self.directory / "base.qcow2"
        shutil.copyfile(vm_images.built(), self.path)
        self.image = vm_images.reference(self.path)
        self.disks = self.directory / "disks"

    def driver(self, grace: float = 1.0) -> Libvirt:
        driver = Libvirt(self.ident, self.disks, uri=self.uri, grace=grace)
        driver.bind(self.cluster)
        self.drivers.append(driver)
        return driver

    def placement(self, **changes: Any) -> Placement:
        values: dict[str, Any] = {
            "uid": Uid(uuid4()),
            "epoch": 1,
            "name": Name("web"),
            "type": MachineType.LIBVIRT,
            "image": self.image,
            "memory": Memory(vm_images.MEMORY),
            "cpus": Cpus(1000),
            "digest": "d" * 64,
        }
        return Placement(**(values | changes))

    def made(self, driver: Libvirt, **changes: Any) -> Instance:
        return driver.create(self.placement(**changes), self.path)

    def running(self, driver: Libvirt) -> Instance:
        instance = self.made(driver)
        driver.start(instance.handle)
        return instance

    def raw(self) -> Any:
        return libvirt.open(self.uri)

    def leave(self) -> None:
        driver = self.driver()
        for instance in driver.observe().instances:
            driver.remove(instance.handle)
        for path in self.disks.glob("*.qcow2"):
            driver.erase(Uid(path.name.split(".")[0]), 99)
        assert driver.observe().instances == ()
        assert not self.disks.exists() or list(self.disks.iterdir()) == []
        driver.leave()
        for each in self.drivers:
            each.close()
        assert not Path(f"/sys/class/net/viaas{self.ident}").exists()


@pytest.fixture
def node() -> Iterator[Node]:
    with vm_images.open_directory() as directory:
        made = Node(directory)
        yield made
        made.leave()


def answers(address: str, port: int = 80) -> str:
    """The page of a VM, as soon as it answers."""
    deadline = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):
            url = f"http://{address}:{port}/cgi-bin/index.cgi"
            with urllib.request.urlopen(url, timeout=1) as response:
                return str(response.read().decode())
        time.sleep(0.05)
    pytest.fail(f"no answer from {address}:{port}")


def soon(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def seen(driver: Libvirt, instance: Instance) -> Instance:
    found = driver.inspect(instance.handle)
    assert found is not None
    return found


def lives(driver: Libvirt, instance: Instance) -> bool:
    return seen(driver, instance).life is Life.RUNNING


# -- a VM and the network


def test_a_vm_answers_at_its_address_and_at_a_published_port(node: Node) -> None:
    driver = node.driver(grace=30)
    instance = node.running(driver)
    publisher = Nftables(node.ident, driver.network.bridge)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        publisher.publish({Port(port, 80): Target(instance.ip, 80)})
        mac = driver.network.mac(IPv4Address(instance.ip))

        assert f"vm-{mac[9:].replace(':', '')}" in answers("127.0.0.1", port)
        assert answers(instance.ip)
        assert answers(str(host_address()), port)

        driver.stop(instance.handle)  # it has booted: it hears its power button
        ended = seen(driver, instance)
        assert (ended.life, ended.clean, ended.ended) == (
            Life.STOPPED,
            False,
            "stopped by the agent",
        )
    finally:
        publisher.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 1)


def host_address() -> str:
    """An address of this host by which others know it; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def test_a_network_that_vanished_comes_back_as_it_was(node: Node) -> None:
    driver = node.driver()
    first, second = node.made(driver), node.made(driver)
    assert first.ip != second.ip
    conn = node.raw()
    conn.networkLookupByName(driver.network.name).destroy()
    conn.close()

    again = node.driver()
    again.start(first.handle)

    assert seen(again, first).ip == first.ip
    assert answers(first.ip)
    third = node.made(again)
    assert third.ip.rpartition(".")[0] == first.ip.rpartition(".")[0]
    assert third.ip not in (first.ip, second.ip)


def test_two_agents_on_a_host_have_two_networks(node: Node) -> None:
    with vm_images.open_directory() as directory:
        other = Node(directory)
        try:
            theirs = other.made(other.driver())
            ours = node.made(node.driver())
            assert theirs.ip.rpartition(".")[0] != ours.ip.rpartition(".")[0]
        finally:
            other.leave()


# -- addresses


def taken(driver: Libvirt) -> set[str]:
    return {str(address) for address in driver.network._taken.values()}


def undefine(node: Node, instance: Instance) -> None:
    conn = node.raw()
    conn.lookupByUUIDString(instance.handle).undefine()
    conn.close()


def test_the_address_of_a_vm_undefined_from_outside_is_free_once_it_is_removed(node: Node) -> None:
    driver = node.driver()
    lost, here = node.made(driver), node.made(driver)
    undefine(node, lost)

    driver.remove(lost.handle)

    assert taken(driver) == {here.ip}


def test_the_address_of_a_vm_undefined_from_outside_is_free_once_it_is_erased(node: Node) -> None:
    driver = node.driver()
    lost, here = node.made(driver), node.made(driver)
    older, newer = (node.made(driver, uid=lost.uid, epoch=epoch) for epoch in (2, 4))
    undefine(node, lost)
    undefine(node, older)
    for disk in node.disks.glob(f"{older.uid}.2.*"):
        disk.unlink()

    driver.erase(older.uid, older.epoch)
    driver.erase(here.uid, here.epoch)
    driver.erase(here.uid, 99)

    assert taken(driver) == {here.ip, newer.ip}


def test_the_address_of_a_vm_that_could_not_be_defined_is_free(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = node.driver()
    with pytest.raises(Refused):
        node.made(driver, cpus=Cpus(500))
    with monkeypatch.context() as context:
        context.setattr("hyper.drivers.libvirt.domain_xml", lambda *_, **__: "<domain/>")
        with pytest.raises(DriverError):
            node.made(driver)
    assert taken(driver) == set()


def test_an_address_is_kept_while_a_definition_may_have_arrived(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, placement = node.driver(), node.placement()

    def lose_it(*_: object) -> None:
        raise EngineDown("libvirtd went away")

    with monkeypatch.context() as context:
        context.setattr(driver, "_refuse_stranger", lose_it)
        with pytest.raises(EngineDown):
            driver.create(placement, node.path)
    (kept,) = taken(driver)

    assert driver.create(placement, node.path).ip == kept


# -- disks


def test_an_overlay_takes_no_longer_for_a_larger_disk(tmp_path: Path) -> None:
    times: dict[str, list[float]] = {"1G": [], "1T": []}
    for size in times:
        command = ["qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / size), size]
        subprocess.run(command, check=True)
    for number in range(7):
        for size, taken in times.items():
            begin = time.perf_counter()
            create_overlay(tmp_path / f"{size}.{number}", tmp_path / size, "qcow2")
            taken.append(time.perf_counter() - begin)
    assert statistics.median(times["1T"]) < 3 * statistics.median(times["1G"])
    assert (tmp_path / "1T.0").stat().st_blocks * 512 < 1 << 20


def test_qemu_gets_the_overlay_and_not_the_base(node: Node) -> None:
    driver = node.driver()
    instance = node.running(driver)

    base = node.path.stat()
    assert (base.st_uid, base.st_mode & 0o777) == (0, 0o640)
    (disk,) = node.disks.iterdir()
    assert disk.name == f"{instance.uid}.1.qcow2"
    assert disk.stat().st_mode & 0o077 == 0
    assert node.disks.stat().st_mode & 0o777 == 0o711


def test_a_crash_between_definition_and_disk_leaves_what_start_finishes(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:
        context.setattr("hyper.drivers.libvirt.create_overlay", crash)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                node.made(node.driver())
    first, second = node.driver().observe().instances
    driver = node.driver()

    driver.start(first.handle)
    driver.remove(second.handle)

    assert seen(driver, first).life is Life.RUNNING
    assert [path.name for path in node.disks.iterdir()] == [f"{first.uid}.1.qcow2"]


def crash(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_crash_within_a_removal_leaves_what_the_next_removal_finishes(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = node.driver()
    instance = node.running(driver)
    with monkeypatch.context() as context:
        context.setattr("hyper.drivers.libvirt.remove_disk", crash)
        with pytest.raises(KeyboardInterrupt):
            driver.remove(instance.handle)
    assert seen(driver, instance).life is Life.STOPPED

    node.driver().remove(instance.handle)

    assert node.driver().observe().instances == ()
    assert list(node.disks.iterdir()) == []


def test_half_a_disk_is_never_taken_for_one(node: Node) -> None:
    placement = node.placement()
    node.disks.mkdir(mode=0o711)
    (node.disks / f"{placement.uid}.1.qcow2.new").write_bytes(b"torn")
    driver = node.driver()

    instance = driver.create(placement, node.path)
    driver.start(instance.handle)

    assert len(list(node.disks.iterdir())) == 1


def test_a_lost_disk_is_not_replaced_by_an_empty_one(node: Node) -> None:
    driver = node.driver()
    instance = node.running(driver)
    driver.stop(instance.handle)
    (disk,) = node.disks.iterdir()
    disk.unlink()

    with pytest.raises(DriverError):
        driver.start(instance.handle)

    assert list(node.disks.iterdir()) == []
    assert seen(driver, instance).life is Life.STOPPED


def test_a_machine_undefined_from_outside_keeps_its_disk_until_it_is_erased(node: Node) -> None:
    driver = node.driver()
    kept, lost, here = node.placement(), node.placement(), node.made(driver)
    conn = node.raw()
    for placement in (kept, lost):
        instance = driver.create(placement, node.path)
        conn.lookupByUUIDString(instance.handle).undefine()
    conn.close()
    (node.disks / "notes.txt").touch()

    driver.erase(lost.uid, lost.epoch)
    driver.erase(kept.uid, kept.epoch - 1)
    driver.erase(here.uid, here.epoch)

    assert {path.name for path in node.disks.iterdir()} == {
        f"{kept.uid}.1.qcow2",
        f"{here.uid}.1.qcow2",
        "notes.txt",
    }
    (node.disks / "notes.txt").unlink()
    driver.remove(domain_uuid(kept.uid, kept.epoch))
    assert len(list(node.disks.iterdir())) == 1


def test_two_epochs_of_a_machine_do_not_share_anything(node: Node) -> None:
    driver = node.driver()
    uid = Uid(uuid4())
    old, new = node.made(driver, uid=uid, epoch=1), node.made(driver, uid=uid, epoch=2)

    driver.remove(old.handle)
    driver.start(new.handle)

    assert (old.handle, old.name, old.ip) != (new.handle, new.name, new.ip)
    assert [path.name for path in node.disks.iterdir()] == [f"{uid}.2.qcow2"]


def made_by(*arguments: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        other = path.with_name("other")
        other.write_bytes(bytes(1 << 16))
        command = ["qemu-img", "create", "-q", *arguments]
        subprocess.run([text.format(other=other, path=path) for text in command], check=True)

    return make


def snapshot(path: Path) -> None:
    """What only the check of manifests.imageformat knows of."""
    made_by("-f", "qcow2", "{path}", "1M")(path)
    subprocess.run(["qemu-img", "snapshot", "-c", "s", str(path)], check=True)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (made_by("-f", "qcow2", "-b", "{other}", "-F", "raw", "{path}"), "backing file"),
        (made_by("-f", "qcow2", "-o", "data_file={other}", "{path}", "1M"), "another file"),
        (made_by("-f", "raw", "{path}", "1M"), "is not"),
        (made_by("-f", "vmdk", "{path}", "1M"), "is not"),
        (lambda path: path.write_bytes(b"QFI\xfb"), "is not"),
        (
            lambda path: path.write_bytes(b"QFI\xfb\0\0\0\3" + b"\0" * 12 + b"\xff" * 84),
            "encrypted",
        ),
        (lambda path: snapshot(path), "snapshots"),
    ],
    ids=["backing", "data-file", "raw", "vmdk", "short", "broken", "snapshot"],
)
def test_a_base_that_leads_elsewhere_is_refused(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    make(tmp_path / "base")
    with pytest.raises(Refused, match=reason):
        check_base(tmp_path / "base", ImageFormat.QCOW2)


def test_no_vm_starts_from_a_container_image_or_from_nothing(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot start from a docker-archive"):
        check_base(tmp_path / "base", ImageFormat.DOCKER_ARCHIVE)
    with pytest.raises(DriverError, match="cannot read the image"):
        check_base(tmp_path / "base", ImageFormat.RAW)
    (tmp_path / "base").touch()
    with pytest.raises(Refused, match="is empty"):
        check_base(tmp_path / "base", ImageFormat.RAW)


def test_qemu_img_runs_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").write_bytes(bytes(1 << 20))
    monkeypatch.setattr(qemu_img, "LIMITS", ("prlimit", "--as=1048576", "--"))
    with pytest.raises(DriverError):
        create_overlay(tmp_path / "disk", tmp_path / "base", "raw")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_what_qemu_cannot_enter_is_said_before_it_fails(node: Node) -> None:
    closed = node.directory / "closed"
    closed.mkdir(mode=0o700)
    path = closed / "base.qcow2"
    shutil.copyfile(node.path, path)
    with pytest.raises(DriverError, match=r"closed: chmod o\+x"):
        node.driver().prepare(node.image, path)


def test_a_vm_with_half_a_processor_is_refused(node: Node) -> None:
    with pytest.raises(Refused, match="whole"):
        node.made(node.driver(), cpus=Cpus(500))
    assert node.driver().observe().instances == ()


def test_a_clone_with_our_label_is_foreign(node: Node) -> None:
    driver = node.driver()
    instance = node.made(driver)
    conn = node.raw()
    xml = conn.lookupByUUIDString(instance.handle).XMLDesc()
    name, uuid = f"clone-{uuid4().hex[:8]}", str(uuid4())
    clone = conn.defineXML(xml.replace(instance.name, name).replace(instance.handle, uuid))
    try:
        view = driver.observe()
        assert [each.handle for each in view.instances] == [instance.handle]
        assert name in [each.name for each in view.foreign]
        assert driver.inspect(uuid) is None
        driver.remove(uuid)
        assert clone.name() == name
        assert clone.isPersistent()
    finally:
        clone.undefine()
        conn.close()


def test_libvirt_does_not_write_to_our_stderr(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    driver = node.driver()
    assert driver.inspect(str(uuid4())) is None
    with pytest.raises(EngineDown):
        Libvirt("x", node.disks, uri="qemu:///system?socket=/nonexistent").inspect(str(uuid4()))
    assert capfd.readouterr().err == ""


# -- daemons that die; with a libvirtd of our own


@pytest.fixture(scope="module")
def daemon() -> Iterator[Any]:
    with vm_images.open_directory() as directory, private_libvirtd(directory) as made:
        yield made


@pytest.fixture
def lonely(daemon: Any) -> Iterator[Node]:
    """A node on the libvirtd that the test may kill."""
    with vm_images.open_directory() as directory:
        made = Node(directory, daemon.uri)
        yield made
        made.leave()


def alive(pid: int) -> bool:
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


def test_machines_and_driver_survive_a_crash_of_libvirtd(daemon: Any, lonely: Node) -> None:
    driver = lonely.driver()
    told: SimpleQueue[str | None] = SimpleQueue()
    driver.watch(told.put)
    instance, idle = lonely.running(driver), lonely.made(driver)
    answers(instance.ip)
    pid = daemon.pid_of(instance.name)

    daemon.kill()
    soon(lambda: bool(driver.observe().error))
    assert driver.observe().instances == ()
    with pytest.raises(EngineDown):
        driver.inspect(instance.handle)
    assert alive(pid)
    assert answers(instance.ip)
    while not told.empty():
        told.get()

    daemon.start()
    while told.get(timeout=30) is not None:
        pass

    assert set(driver.observe().instances) == {seen(driver, instance), seen(driver, idle)}
    assert (seen(driver, instance).life, seen(driver, idle).ran) == (Life.RUNNING, False)
    os.kill(daemon.pid_of(instance.name), signal.SIGKILL)
    # a libvirtd so young may have no event for it: then everything is to be looked at again
    while told.get(timeout=30) not in (instance.handle, None) or lives(driver, instance):
        pass
    driver.start(instance.handle)
    driver.start(idle.handle)
    assert answers(instance.ip)
    assert answers(idle.ip)


def test_what_ran_before_libvirtd_started_anew_is_known_to_have_run(
    daemon: Any, lonely: Node
) -> None:
    driver = lonely.driver()
    crashed, stopped, never = lonely.running(driver), lonely.running(driver), lonely.made(driver)
    driver.stop(stopped.handle)
    pid = daemon.pid_of(crashed.name)
    daemon.kill()
    os.kill(pid, signal.SIGKILL)
    soon(lambda: not alive(pid))
    daemon.start()
    daemon.end()
    daemon.start()

    soon(lambda: seen(driver, crashed).life is Life.STOPPED)
    found = [seen(driver, each) for each in (crashed, stopped, never)]

    assert [each.ran for each in found] == [True, True, False]
    assert [each.clean for each in found] == [False, False, False]
    assert found[0].ended
    assert found[1].ended == "stopped by the agent"


def test_a_frozen_libvirtd_is_told_from_an_empty_one(
    daemon: Any, lonely: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libvirt_connection, "KEEPALIVE", (1, 2))
    monkeypatch.setattr(libvirt_connection, "OPEN_SECONDS", 2.0)
    driver = lonely.driver()
    told: SimpleQueue[str | None] = SimpleQueue()
    driver.watch(told.put)
    instance = lonely.made(driver)
    daemon.send(signal.SIGSTOP)
    try:
        begin = time.monotonic()
        assert driver.observe().error
        assert driver.observe().error
        assert time.monotonic() - begin < 15
        with pytest.raises(EngineDown):
            driver.inspect(instance.handle)
        while not told.empty():
            told.get()
    finally:
        daemon.send(signal.SIGCONT)

    while told.get(timeout=30) is not None:
        pass
    assert driver.observe().instances == (instance,)


def test_a_watch_does_not_wait_for_a_frozen_libvirtd(daemon: Any, lonely: Node) -> None:
    driver = lonely.driver()
    told: SimpleQueue[str | None] = SimpleQueue()
    daemon.send(signal.SIGSTOP)
    try:
        begin = time.monotonic()
        driver.watch(told.put)
        assert time.monotonic() - begin < 2
    finally:
        daemon.send(signal.SIGCONT)

    assert told.get(timeout=30) is None
    instance = lonely.made(driver)
    while told.get(timeout=30) != instance.handle:
        pass


def test_whoever_replaces_a_dead_connection_tells_of_the_loss(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = node.driver()
    told: SimpleQueue[str | None] = SimpleQueue()
    monkeypatch.setattr("hyper.drivers.libvirt_watch.SETTLE", ())
    driver.watch(told.put)
    assert told.get(timeout=30) is None
    dead = driver._connection._conn

    with monkeypatch.context() as context:
        alive = libvirt_connection._alive
        context.setattr(libvirt_connection, "_alive", lambda conn: conn is not dead and alive(conn))
        assert driver.observe().error == ""
        assert told.get(timeout=30) is None

    assert driver._connection._conn is not dead


def test_a_frozen_qemu_is_stopped_within_its_grace(daemon: Any, lonely: Node) -> None:
    driver = lonely.driver(grace=4)  # longer than from one press to the next
    stopped, removed = lonely.running(driver), lonely.running(driver)
    pids = [daemon.pid_of(each.name) for each in (stopped, removed)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            begin = time.monotonic()
            done = pool.submit(driver.stop, stopped.handle)
            try:
                time.sleep(3)
                pressing = [each.name for each in threading.enumerate()]
                assert pressing.count("libvirt-power-button") == 1
                done.result(timeout=40)  # libvirtd itself takes 10 s from SIGTERM to SIGKILL
            finally:
                if not done.done():
                    os.kill(pids[0], signal.SIGKILL)
            assert time.monotonic() - begin < 30
        driver.remove(removed.handle)
    finally:
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)

    ended = seen(driver, stopped)
    assert (ended.life, ended.clean, ended.ended) == (
        Life.STOPPED,
        False,
        "stopped by the agent",
    )
    assert driver.inspect(removed.handle) is None
    driver.start(stopped.handle)
    assert lives(driver, stopped)


def test_a_machine_that_a_call_of_somebody_else_holds_is_stopped_too(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restart of the agent within the grace of a frozen qemu."""
    driver = node.driver()
    instance = node.running(driver)

    def held(*_: object) -> None:
        raise Busy("cannot acquire state change lock")

    monkeypatch.setattr(driver, "_mark", held)
    driver.stop(instance.handle)

    assert seen(driver, instance).life is Life.STOPPED
