"""Images on a node, end to end: pulled from a registry that comes and goes, and kept within a limit."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from hyper.download import ImageError, Source
from hyper.images import ImageCache
from manifests.kinds.image import ImageFormat, MachineType
from manifests.scalars import Sha256
from manifests.wire import ImageRef
from tests.docker_images import reference
from tests.e2e.conftest import Build, Labs
from tests.e2e.documents import image, machine, node, pulled
from tests.e2e.engines import Engines
from tests.e2e.lab import Lab
from tests.e2e.ports import until
from tests.registry import Registry

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def lab(labs: Labs) -> Lab:
    """Whose cache takes two of the small images, archive and all, and no third."""
    lab = labs("docker")
    lab.agent.end()
    lab.agent.with_options("--image-cache=9Mi")
    lab.agent.start()
    return lab


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.start()
    yield registry
    registry.close()


def the_image(lab: Lab, name: str) -> list[dict[str, Any]]:
    """What the nodes have of it."""
    found: list[dict[str, Any]] = lab.get("image", name)["nodes"]
    return found


def loaded(engines: Engines, sha256: str) -> bool:
    return bool(engines.docker.api.images(name=f"iaas-image:{sha256}"))


def waits(lab: Lab, name: str, why: str) -> None:
    """The machine says that it waits, and why."""

    def said() -> bool:
        return why in lab.machine(name)["reason"]

    until(f"{name} says {why!r}", said)


def test_an_image_of_a_registry_that_comes_and_goes(
    lab: Lab, registry: Registry, engines: Engines
) -> None:
    first, second = registry.push("app"), registry.push("app")
    lab.apply(node(lab), pulled("app", first), machine("web", "app"))
    api = engines.docker.api
    reference = f"{first.repository}@sha256:{first.sha256}"
    runs = engines.container(lab, "web")
    assert runs["Image"] == api.inspect_image(reference)["Id"]
    assert the_image(lab, "app")[0]["state"] == "ready"

    registry.stop()
    documents = [node(lab), pulled("app", first), machine("web", "app")]
    path = lab.write(*documents, pulled("next", second), machine("new", "next"))
    lab.ctl("apply", "-f", path)
    waits(lab, "new", f"the registry {registry.host} cannot be reached from this node")
    assert "trying again after" in lab.machine("new")["reason"]
    (there,) = the_image(lab, "next")
    assert (there["node"], there["state"]) == ("n1", "failed")
    text = lab.ctl("describe", "image", "next").out
    assert f"n1 failed: the registry {registry.host} cannot be reached" in text
    assert engines.container(lab, "web")["Id"] == runs["Id"]

    registry.start()
    until("it runs after all", lambda: lab.machine("new")["state"] == "running")
    assert "on nodes:\n  n1 ready\n" in lab.ctl("describe", "image", "next").out
    lab.apply(node(lab))


def test_the_cache_keeps_its_limit_and_what_is_in_use(
    lab: Lab, build: Build, engines: Engines
) -> None:
    files = {name: build(f"cache-{name}") for name in "abc"}
    images = [image(name, path) for name, path in files.items()]
    digests = {name: reference(path).sha256 for name, path in files.items()}

    def here() -> str:
        return "".join(name for name, sha256 in digests.items() if loaded(engines, sha256))

    lab.apply(node(lab), *images, machine("m1", "a"))
    lab.apply(node(lab), *images, machine("m2", "b"))
    assert here() == "ab"  # nobody needs a, and there is room

    lab.apply(node(lab), *images, machine("m2", "b"), machine("m3", "c"))
    assert here() == "bc"
    assert not (lab.state / "images" / digests["a"]).exists()

    three = [machine("m1", "a"), machine("m2", "b"), machine("m3", "c")]
    lab.ctl("apply", "-f", lab.write(node(lab), *images, *three))
    waits(lab, "m1", f"no room for image {digests['a'][:12]}: needs ")
    assert "free in the image cache (hyper --image-cache)" in lab.machine("m1")["reason"]
    assert the_image(lab, "a")[0]["state"] == "failed"
    assert here() == "bc"

    lab.ctl("delete", "machine", "m2", "--wait")
    until("there is room", lambda: lab.machine("m1")["state"] == "running")
    assert here() == "ac"

    lab.agent.kill()
    lab.agent.start()
    lab.apply(node(lab), *images, machine("m2", "b"))  # what was before the start may go
    assert "b" in here()
    assert len(here()) == 2


def test_a_controller_that_is_killed_amid_a_download_only_delays_it(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyper.images.NEWS", 0)
    data = os.urandom(1 << 20) * 48
    ref = ImageRef(
        sha256=Sha256(hashlib.sha256(data).hexdigest()), format=ImageFormat.RAW, size=len(data)
    )
    url = f"http://127.0.0.1:{lab.api_port}/iaas/blobs"
    upload = Request(f"{url}/{ref.sha256}", data, method="PUT")
    upload.add_header("Authorization", f"Bearer {lab.token.read_text().strip()}")
    urlopen(upload, timeout=60).close()
    source = Source(url, lab.agent_token.read_text().strip())
    cache = ImageCache(tmp_path / "images")
    cache.note(MachineType.LIBVIRT, ref)
    told: list[int] = []
    killed: list[int] = []

    def kill_at_half(_: str, done: int) -> None:
        told.append(done)
        if done > len(data) // 2 and not killed:
            killed.append(done)
            lab.reconciler.kill()

    cache.tell = kill_at_half
    with pytest.raises(ImageError, match="cannot be fetched"):
        cache.fetch(ref, source)
    came = (tmp_path / "images" / f"{ref.sha256}.part").stat().st_size
    assert len(data) // 2 < came < len(data)
    with pytest.raises(ImageError, match="refused"):
        cache.fetch(ref, source)

    lab.reconciler.start()
    told.clear()
    assert cache.fetch(ref, source).read_bytes() == data
    assert min(told) > came  # nothing came twice
