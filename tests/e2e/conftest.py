"""Labs are shared: each is taken down to the last trace when those who use it are through."""

import contextlib
import fcntl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import docker_images, vm_images
from tests.e2e.cluster import Cluster
from tests.e2e.documents import image, node
from tests.e2e.engines import Engines, command_lines
from tests.e2e.lab import Lab
from tests.e2e.ports import own_address

CACHE = Path("/var/tmp/iaas-e2e-images")
BUILD_WEB = Path(__file__).parents[2] / "examples" / "images" / "build-web"
LIVE: list[Lab] = []

Labs = Callable[..., Lab]
Build = Callable[[str], Path]


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


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Builds container images that nobody else on this host has: busybox that sleeps, with a volume."""
    folder = tmp_path_factory.mktemp("image")

    def builder(version: str) -> Path:
        path = folder / f"{version}.tar"
        docker_images.busybox(path, Labels={"e2e": f"{path} {version}"}, Volumes={"/data": {}})
        return path

    return builder


@pytest.fixture(scope="session")
def idle(build: Build) -> Path:
    return build("idle")


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
    """Makes labs that are taken down with the module."""
    with making(engines) as make:
        yield make


@pytest.fixture(scope="session")
def base(engines: Engines, idle: Path) -> Iterator[Lab]:
    with making(engines) as make:
        lab = make("docker")
        lab.apply(node(lab), image("idle", idle), name="base")
        yield lab


@pytest.fixture
def small(base: Lab) -> Iterator[Lab]:
    """A lab with Docker alone, its node and the image `idle`. No test sees another's machines."""
    yield base
    if names := list(base.machines()):
        base.ctl("delete", "machine", *names, "--approve", "--wait")


@pytest.fixture(scope="session")
def cluster(engines: Engines, web: Path, vm_image: Path) -> Iterator[Cluster]:
    """A lab with a container and a VM, which boots once for all; tests leave it as they found it."""
    with making(engines) as make:
        found = Cluster(make(), engines, web, vm_image)
        found.settle()
        yield found


@contextlib.contextmanager
def making(engines: Engines) -> Iterator[Labs]:
    made: list[Lab] = []

    def make(drivers: str = "docker,libvirt", inside: tuple[str, ...] = ()) -> Lab:
        lab = Lab(drivers, inside)
        made.append(lab)
        LIVE.append(lab)
        lab.start()
        return lab

    try:
        yield make
    finally:
        troubles = [trouble for lab in made for trouble in take_down(lab, engines)]
    assert not troubles, "\n".join(troubles)


def take_down(lab: Lab, engines: Engines) -> list[str]:
    """Stops it, purges the host, and says what is not as it should be then."""
    troubles = unclean(lab)
    cluster = lab.cluster  # known only until the purge
    try:
        purged = lab.purge()
        if purged.code:
            troubles.append(f"purge ended with {purged.code}: {purged.text}")
    except AssertionError as error:
        troubles.append(str(error))
    assert lab.cluster == cluster
    LIVE.remove(lab)
    if left := engines.leftovers(lab):
        return [*troubles, f"left over, see {lab.dir}:", *left]
    lab.forget()
    return troubles


def unclean(lab: Lab) -> list[str]:
    """What no log and no command line may hold."""
    logs, commands = lab.logs(), command_lines()
    troubles = [f"a traceback:\n{lab.tails()}"] if "Traceback" in logs else []
    for secret in lab.secrets():
        if secret in logs:
            troubles.append("a log holds a token")
        troubles += [f"a token in {it.split(secret)}" for it in commands if secret in it]
    return troubles


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    """After every test."""
    yield
    assert not [trouble for lab in LIVE for trouble in unclean(lab)]
