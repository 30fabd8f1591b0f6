"""Labs are shared by the tests of a module; each is taken down to the last trace at its end."""

import contextlib
import fcntl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import docker_images, vm_images
from tests.e2e.engines import Engines
from tests.e2e.lab import Lab
from tests.e2e.ports import own_address

CACHE = Path("/var/tmp/iaas-e2e-images")
BUILD_WEB = Path(__file__).parents[2] / "examples" / "images" / "build-web"

Labs = Callable[..., Lab]


@pytest.fixture(scope="session")
def web() -> Path:
    """The container image of the examples."""
    CACHE.mkdir(exist_ok=True)
    archive = CACHE / "web.tar"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([BUILD_WEB, archive], check=True, capture_output=True, timeout=60)
    return archive


@pytest.fixture(scope="session")
def vm_image() -> Path:
    return vm_images.built()


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A container image that nobody else on this host has: busybox that sleeps, with a volume."""
    path = tmp_path_factory.mktemp("image") / "idle.tar"
    docker_images.busybox(path, Labels={"e2e": str(path)}, Volumes={"/data": {}})
    return path


@pytest.fixture(scope="session")
def address() -> str:
    """The host's own, not loopback."""
    return own_address()


@pytest.fixture(scope="session")
def engines() -> Iterator[Engines]:
    with contextlib.closing(Engines()) as found:
        yield found


@pytest.fixture(scope="module")
def labs(engines: Engines) -> Iterator[Labs]:
    """Makes labs, and takes them down with the module: nothing of them may be left."""
    made: list[Lab] = []

    def make(drivers: str = "docker,libvirt", inside: tuple[str, ...] = ()) -> Lab:
        made.append(Lab(drivers, inside))
        made[-1].start()
        return made[-1]

    try:
        yield make
    finally:
        troubles = [trouble for lab in made for trouble in take_down(lab, engines)]
    assert not troubles, "\n".join(troubles)


def take_down(lab: Lab, engines: Engines) -> list[str]:
    """What is wrong with how it went."""
    troubles = clean(lab)
    try:
        purged = lab.purge()
        if purged.code:
            troubles.append(f"purge ended with {purged.code}: {purged.text}")
    except AssertionError as error:
        troubles.append(str(error))
    cluster_before = engines.leftovers(lab)
    lab.forget()
    return troubles + cluster_before


def clean(lab: Lab) -> list[str]:
    """What no log may hold."""
    logs = lab.logs()
    troubles = [f"a traceback:\n{lab.tails()}"] if "Traceback" in logs else []
    return troubles + ["a log holds a token" for secret in lab.secrets() if secret in logs]


@pytest.fixture
def clean_logs() -> Callable[[Lab], None]:
    def check(lab: Lab) -> None:
        assert not clean(lab)

    return check
