"""The Docker driver beyond the contract: what only containers have. Against a real dockerd."""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hyper.core.looking import STRANGERS
from hyper.core.model import Life
from hyper.drivers import DriverError, EngineDown, Refused
from hyper.drivers.docker import Docker
from hyper.drivers.docker_words import tag, tags_of_ours
from manifests.scalars import Cpus, Memory, Port
from manifests.wire import Foreign, ImageRef
from tests import docker_images
from tests.contract.driver_contract import DEADLINE, Heard, made, now, running, watched
from tests.contract.rig_docker import SOCKET, DockerRig

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def one_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRig]:
    rig = DockerRig(tmp_path_factory.mktemp("docker"))
    yield rig
    rig.close()


@pytest.fixture
def rig(one_rig: DockerRig) -> Iterator[DockerRig]:
    yield one_rig
    one_rig.clean()


def eventually(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


def shell(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


def answer(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/text")
        return connection.getresponse().read().decode()
    return ""


# -- what a machine gets


def test_ports_environment_command_and_host_name_reach_the_machine(rig: DockerRig) -> None:
    port, driver = free_port(), rig.driver()
    running(
        rig,
        driver,
        command=shell(
            'echo "$GREETING $(cat /proc/sys/kernel/hostname)" >/tmp/text; exec httpd -f -h /tmp'
        ),
        env={"GREETING": "hello = world"},
        ports=(Port(port, 80),),
    )

    eventually(lambda: answer(port) == "hello = world web\n")


def test_a_port_in_use_by_a_container_is_told_and_it_can_start_later(rig: DockerRig) -> None:
    port, driver = free_port(), rig.driver()
    first = running(rig, driver, ports=(Port(port, 80),))
    second = made(rig, driver, ports=(Port(port, 80),))

    with pytest.raises(DriverError, match=f"^port {port} on this node is in use") as caught:
        driver.start(second.handle)
    assert not isinstance(caught.value, Refused)
    seen = now(driver, second)
    assert (seen.life, seen.ran, seen.clean) == (Life.STOPPED, False, False)
    driver.remove(first.handle)
    driver.start(second.handle)

    seen = now(driver, second)
    assert (seen.life, seen.ended) == (Life.RUNNING, "")


def test_a_port_in_use_by_a_program_is_told_and_it_can_start_later(rig: DockerRig) -> None:
    driver = rig.driver()
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        instance = made(rig, driver, ports=(Port(port, 80),))
        with pytest.raises(DriverError, match=f"^port {port} on this node is in use by another"):
            driver.start(instance.handle)
        driver.stop(instance.handle)

    driver.start(instance.handle)

    assert now(driver, instance).life is Life.RUNNING


def test_a_program_that_the_image_lacks_is_refused(rig: DockerRig) -> None:
    driver = rig.driver()
    instance = made(rig, driver, command=("/nope",))

    with pytest.raises(Refused, match="no program '/nope'"):
        driver.start(instance.handle)

    assert "no program '/nope'" in now(driver, instance).ended


def test_more_processors_than_the_node_has_are_refused(rig: DockerRig) -> None:
    driver = rig.driver()
    driver.prepare(rig.image, rig.path)

    with pytest.raises(Refused, match="CPUs"):
        driver.create(rig.placement(cpus=Cpus(1_000_000)), rig.path)


def test_limits_are_those_of_docker_itself(rig: DockerRig) -> None:
    instance = running(rig, rig.driver(), memory=Memory(64))

    host = rig.client.inspect_container(instance.handle)["HostConfig"]

    assert host["RestartPolicy"]["Name"] in ("", "no")
    assert (host["AutoRemove"], host["Privileged"]) == (False, False)
    assert (host["PidsLimit"], host["SecurityOpt"]) == (4096, ["no-new-privileges"])
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}


# -- how it ends


@pytest.mark.parametrize("code", [0, 3])
def test_an_exit_code_is_told(rig: DockerRig, code: int) -> None:
    driver = rig.driver()
    instance = running(rig, driver, command=shell(f"exit {code}"))

    eventually(lambda: now(driver, instance).life is Life.STOPPED)

    seen = now(driver, instance)
    assert (seen.exit_code, seen.clean, seen.ended) == (code, code == 0, f"exit code {code}")


def test_running_out_of_memory_is_told(rig: DockerRig) -> None:
    driver = rig.driver()
    instance = made(
        rig,
        driver,
        memory=Memory(16),
        command=("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=300M"),
    )

    ends = []
    for _ in range(6):  # Docker itself misses one in ten: the exit overtakes the kernel's message
        driver.start(instance.handle)
        eventually(lambda: now(driver, instance).life is Life.STOPPED)
        ends.append(now(driver, instance).ended)
        if ends[-1] == "exit code 137: killed (out of memory)":
            return
    pytest.fail(f"never told: {ends}")


def test_a_program_that_will_not_end_is_killed_after_its_grace(rig: DockerRig) -> None:
    driver = Docker(SOCKET, grace=1)
    driver.bind(rig.cluster)
    instance = running(rig, driver, command=shell(docker_images.STUBBORN))

    begin = time.monotonic()
    driver.stop(instance.handle)

    assert time.monotonic() - begin < 9
    assert now(driver, instance).ended == "exit code 137: killed"
    driver.close()


def test_volumes_of_the_image_go_with_the_machine(rig: DockerRig) -> None:
    driver = rig.driver()
    instance = running(rig, driver)
    (mount,) = rig.client.inspect_container(instance.handle)["Mounts"]
    assert mount["Destination"] == "/data"

    driver.remove(instance.handle)

    names = [volume["Name"] for volume in rig.client.volumes()["Volumes"] or []]
    assert mount["Name"] not in names


# -- what is ours


def test_labels_of_an_image_do_not_matter(rig: DockerRig, tmp_path: Path) -> None:
    forged = {
        "iaas.cluster": rig.cluster,
        "iaas.uid": "00000000-0000-4000-8000-000000000000",
        "iaas.epoch": "99",
        "iaas.digest": "f" * 64,
        "iaas.name": "forged",
    }
    name = f"{rig.base}-forged:latest"
    rig.names.append(name)
    image = docker_images.busybox(tmp_path / "a", tags=[name], Labels=forged)
    driver = rig.driver()
    placement = rig.placement(image=image)
    driver.prepare(image, tmp_path / "a")
    rig.names.append(tag(image))

    instance = driver.create(placement, tmp_path / "a")

    assert driver.observe().instances == (instance,)
    assert (instance.uid, instance.epoch) == (placement.uid, 1)

    # Somebody starts the same image by hand, under a name of their own.
    rig.client.tag(f"iaas-image:{image.sha256}", name.removesuffix(":latest"), "latest")
    handle = rig.foreign_container("by-hand", image=name)
    view = driver.observe()
    assert view.instances == (instance,)
    assert Foreign(type=rig.type, name="by-hand") in view.foreign
    with pytest.raises(DriverError, match="not ours"):
        driver.remove(handle)


def test_a_former_attempt_is_in_the_way_but_not_lost(rig: DockerRig) -> None:
    driver = rig.driver()
    placement = rig.placement(epoch=4)
    driver.prepare(rig.image, rig.path)
    former = driver.create(placement, rig.path)

    with pytest.raises(DriverError, match="attempt 4") as caught:
        driver.create(rig.placement(uid=placement.uid, epoch=5), rig.path)

    assert not isinstance(caught.value, Refused)
    assert driver.observe().instances == (former,)


def test_a_container_is_ours_under_another_name_too(rig: DockerRig) -> None:
    driver = rig.driver()
    instance = running(rig, driver)

    rig.client.rename(instance.handle, "renamed-by-hand")

    (seen,) = driver.observe().instances
    assert (seen.handle, seen.name) == (instance.handle, "renamed-by-hand")


# -- images


def test_an_archive_cannot_take_a_name_on_the_host(rig: DockerRig, tmp_path: Path) -> None:
    rig.own_image()
    before = rig.client.inspect_image(rig.base)["Id"]
    image = docker_images.busybox(tmp_path / "a", tags=[f"{rig.base}:latest"], User="hostile")
    rig.names.append(tag(image))

    rig.driver().prepare(image, tmp_path / "a")

    assert rig.client.inspect_image(rig.base)["Id"] == before
    loaded = rig.client.inspect_image(f"iaas-image:{image.sha256}")
    assert (loaded["Config"]["User"], len(loaded["RepoTags"])) == ("hostile", 1)


def test_preparing_at_once_loads_once(rig: DockerRig) -> None:
    image, path = rig.fresh_image()
    driver = Docker(SOCKET)
    driver.bind(rig.cluster)
    loads = []
    images = driver._images
    load = images._load

    def counted(image: ImageRef, path: Path) -> None:
        loads.append(image)
        load(image, path)

    images._load = counted  # type: ignore[method-assign]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: driver.prepare(image, path), range(4)))

    assert len(loads) == 1
    assert rig.prepared(image)
    driver.close()


def test_discarding_an_image_in_use_is_an_error_and_harmless(rig: DockerRig) -> None:
    driver = rig.driver()
    image, path = rig.fresh_image()
    driver.prepare(image, path)
    driver.create(rig.placement(image=image), path)

    with pytest.raises(DriverError):
        driver.discard(image)

    assert rig.prepared(image)


def test_leaving_removes_the_images_that_nobody_uses(
    rig: DockerRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyper.drivers.docker_words.REPOSITORY", f"{rig.base}-leaving")
    monkeypatch.setattr("hyper.drivers.docker_words.PULLED", f"{rig.base}-pulled")
    driver = rig.driver()
    (used, used_path), (idle, idle_path) = rig.fresh_image(), rig.fresh_image()
    driver.prepare(idle, idle_path)
    driver.prepare(used, used_path)
    instance = driver.create(rig.placement(image=used), used_path)

    driver.leave()
    assert tags_of_ours(rig.client.images()) == [tag(used)]

    driver.remove(instance.handle)
    driver.leave()
    driver.leave()
    assert tags_of_ours(rig.client.images()) == []


# -- an engine that goes and comes back


class Wire:
    """A socket that leads to dockerd, until it is cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()
        self.connections = 0
        self.join()

    def join(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def cut(self) -> None:
        self.path.unlink(missing_ok=True)
        self._shut(self._listener)
        with self._lock:
            for end in self._ends:
                self._shut(end)
            self._ends.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(SOCKET)
                with self._lock:
                    self.connections += 1
                    self._ends += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        self._shut(source)
        self._shut(sink)

    @staticmethod
    def _shut(end: socket.socket) -> None:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    wire = Wire(tmp_path / "docker.sock")
    yield wire
    wire.cut()


def test_after_the_engine_was_away_everything_is_looked_at(rig: DockerRig, wire: Wire) -> None:
    driver = Docker(str(wire.path))
    driver.bind(rig.cluster)
    instance, heard = watched(rig, driver)

    wire.cut()
    with pytest.raises(EngineDown):
        driver.inspect(instance.handle)
    assert driver.observe().error.startswith("docker does not answer")
    rig.kill(instance.handle)  # nobody hears of it
    wire.join()

    def seen() -> bool:
        view = driver.observe()
        return not view.error and view.instances[0].life is Life.STOPPED

    heard.until(instance.handle, seen, or_anything=True)
    driver.start(instance.handle)
    rig.kill(instance.handle)
    heard.until(instance.handle, lambda: now(driver, instance).life is Life.STOPPED)
    driver.close()


def test_an_idle_watch_is_silent(rig: DockerRig, wire: Wire) -> None:
    driver, other = Docker(str(wire.path)), rig.driver(rig.other_cluster)
    driver.bind(rig.cluster)
    instance, heard = watched(rig, driver)
    before = wire.connections

    for _ in range(3):
        theirs = running(rig, other)
        other.remove(theirs.handle)
    rig.add_foreign(f"bystander-{instance.uid[:8]}")
    rig.kill(instance.handle)
    told = heard.until(instance.handle, lambda: True)

    assert told[-1] == instance.handle
    assert set(told) == {STRANGERS, instance.handle}
    assert wire.connections == before
    driver.close()


def test_ports_that_strangers_publish_are_told_while_they_have_them(rig: DockerRig) -> None:
    driver = rig.driver()
    instance, heard = watched(rig, driver)
    port, name = free_port(), f"bystander-{instance.uid[:8]}"
    bindings = {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}],
        "53/udp": [{"HostIp": "", "HostPort": str(port)}],
    }
    inside: dict[str, dict[str, str]] = {key: {} for key in bindings}
    handle = rig.foreign_container(name, ExposedPorts=inside, HostConfig={"PortBindings": bindings})

    def ports() -> list[tuple[str, ...]]:
        return [it.ports for it in driver.strangers() if it.name == name]

    assert ports() == [()]
    rig.client.start(handle)
    heard.until(STRANGERS, lambda: ports() == [(f"{port}/tcp", f"{port}/udp")])
    rig.client.kill(handle)
    heard.until(STRANGERS, lambda: ports() == [()])


def test_a_watch_can_be_closed_while_the_engine_is_away(rig: DockerRig, wire: Wire) -> None:
    driver = Docker(str(wire.path))
    driver.bind(rig.cluster)
    watched(rig, driver)
    wire.cut()

    begin = time.monotonic()
    driver.close()

    assert time.monotonic() - begin < 4


def test_a_watch_that_starts_before_its_engine_hears_of_it(rig: DockerRig, wire: Wire) -> None:
    wire.cut()
    driver, heard = Docker(str(wire.path)), Heard()
    driver.bind(rig.cluster)
    driver.watch(heard)
    assert driver.observe().error
    wire.join()

    heard.until("", lambda: not driver.observe().error, or_anything=True)
    driver.close()
