"""Images that Docker pulls: by their digest alone. A real registry, a real dockerd."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from docker.errors import ImageNotFound

from hyper.core.model import Life
from hyper.drivers import DriverError
from hyper.drivers.docker_words import not_pulled, reference, tag, tags_of_ours
from manifests.kinds.image import ImageFormat
from manifests.scalars import Sha256
from manifests.wire import ImageRef
from tests.contract.driver_contract import now
from tests.contract.rig_docker import DockerRig
from tests.registry import Registry

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


@pytest.fixture(scope="module")
def one_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.start()
    yield registry
    registry.close()


@pytest.fixture
def registry(one_registry: Registry, rig: DockerRig) -> Iterator[Registry]:
    """What is pulled from it is gone from dockerd after the test."""
    yield one_registry
    rig.clean()
    for details in rig.client.images():
        names = [*(details.get("RepoDigests") or []), *(details.get("RepoTags") or [])]
        if any(name.startswith(f"{one_registry.host}/") for name in names):
            for name in tags_of_ours([details]) + names:
                with suppress(ImageNotFound):
                    rig.client.remove_image(name, force=True)


def there(rig: DockerRig, name: str) -> str:
    """The id behind a name; "" if there is none."""
    with suppress(ImageNotFound):
        return str(rig.client.inspect_image(name)["Id"])
    return ""


def test_an_image_is_pulled_by_its_digest_and_runs(rig: DockerRig, registry: Registry) -> None:
    driver, image = rig.driver(), registry.push("app")

    size = driver.prepare(image, None)
    assert driver.prepare(image, None) == size > 100_000
    instance = driver.create(rig.placement(image=image), None)
    driver.start(instance.handle)

    seen = now(driver, instance)
    assert (seen.life, seen.image) == (Life.RUNNING, image.sha256)
    details = rig.client.inspect_container(instance.handle)
    assert details["Image"] == there(rig, reference(image)) != ""
    assert driver.observe().instances == (seen,)


def test_a_tag_that_was_moved_changes_nothing(rig: DockerRig, registry: Registry) -> None:
    driver, image = rig.driver(), registry.push("moved", "latest", User="first")
    other = registry.push("moved", "latest", User="second")
    assert other != image

    driver.prepare(image, None)
    instance = driver.create(rig.placement(image=image), None)

    details = rig.client.inspect_container(instance.handle)
    assert details["Config"]["User"] == "first"
    assert there(rig, reference(other)) == ""


def test_a_name_of_ours_that_somebody_moved_starts_nothing_and_is_put_right(
    rig: DockerRig, registry: Registry
) -> None:
    driver, image = rig.driver(), registry.push("named")
    driver.prepare(image, None)
    rig.own_image()
    rig.client.tag(rig.base, "iaas-image", image.sha256)
    placement = rig.placement(image=image)

    with pytest.raises(DriverError, match="is not loaded"):
        driver.create(placement, None)
    assert rig.remains(placement.uid) == []

    driver.prepare(image, None)
    instance = driver.create(placement, None)
    details = rig.client.inspect_container(instance.handle)
    assert details["Image"] == there(rig, reference(image))


def test_what_was_made_from_another_image_before_a_crash_goes(
    rig: DockerRig, registry: Registry
) -> None:
    driver, image = rig.driver(), registry.push("crashed")
    driver.prepare(image, None)
    rig.own_image()
    rig.client.tag(rig.base, "iaas-image", image.sha256)
    placement = rig.placement(image=image)
    unchecked = replace(image, repository="")
    driver.create(replace(placement, image=unchecked), None)

    with pytest.raises(DriverError, match="leads to another one"):
        driver.create(placement, None)

    assert rig.remains(placement.uid) == []


def test_a_digest_that_the_registry_lacks_is_told(rig: DockerRig, registry: Registry) -> None:
    image = replace(registry.push("lacking"), sha256=Sha256("0" * 64))

    with pytest.raises(DriverError, match=f"^the registry {registry.host} has no .*/lacking@sha"):
        rig.driver().prepare(image, None)

    assert there(rig, tag(image)) == ""


def test_a_registry_that_is_away_is_told_until_it_is_back(
    rig: DockerRig, registry: Registry
) -> None:
    driver, image = rig.driver(), registry.push("away")
    registry.stop()
    try:
        with pytest.raises(DriverError, match=f"^the registry {registry.host} cannot be reached"):
            driver.prepare(image, None)
    finally:
        registry.start()

    assert driver.prepare(image, None) > 0


def test_a_registry_that_wants_a_login_is_told(rig: DockerRig, registry: Registry) -> None:
    driver, image = rig.driver(), registry.push("secret")
    registry.stop()
    registry.close_to_all(True)
    registry.start()
    try:
        with pytest.raises(DriverError, match=f"`docker login {registry.host}`"):
            driver.prepare(image, None)
    finally:
        registry.stop()
        registry.close_to_all(False)
        registry.start()


def test_what_was_pulled_for_us_goes_whole(rig: DockerRig, registry: Registry) -> None:
    driver, image = rig.driver(), registry.push("ours")
    driver.prepare(image, None)
    id_ = there(rig, tag(image))

    driver.discard(image)
    driver.discard(image)

    assert (there(rig, tag(image)), there(rig, reference(image)), there(rig, id_)) == ("", "", "")


@pytest.mark.parametrize("by", ["digest", "tag"])
def test_what_was_there_before_stays(rig: DockerRig, registry: Registry, by: str) -> None:
    driver, image = rig.driver(), registry.push("theirs", "7")
    theirs = f"sha256:{image.sha256}" if by == "digest" else "7"
    rig.client.pull(image.repository, theirs)

    driver.prepare(image, None)
    driver.discard(image)

    assert there(rig, tag(image)) == ""
    assert there(rig, reference(image)) != ""
    assert by == "digest" or there(rig, f"{image.repository}:7") != ""


def test_an_image_in_use_keeps_its_names(rig: DockerRig, registry: Registry) -> None:
    driver, image = rig.driver(), registry.push("used")
    driver.prepare(image, None)
    instance = driver.create(rig.placement(image=image), None)

    with pytest.raises(DriverError, match="in use"):
        driver.discard(image)
    assert there(rig, tag(image)) == there(rig, reference(image)) != ""

    driver.remove(instance.handle)
    driver.discard(image)
    assert there(rig, reference(image)) == ""


def test_leaving_takes_what_was_pulled(
    rig: DockerRig, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("docker_words", "docker_images"):  # another agent's stay
        monkeypatch.setattr(f"hyper.drivers.{module}.REPOSITORY", f"{rig.base}-image")
        monkeypatch.setattr(f"hyper.drivers.{module}.PULLED", f"{rig.base}-pulled")
    driver, image = rig.driver(), registry.push("leaving")
    driver.prepare(image, None)
    assert there(rig, f"{rig.base}-pulled:{image.sha256}") != ""

    driver.leave()

    assert there(rig, reference(image)) == ""


def test_labels_of_an_image_never_stand_for_ours(rig: DockerRig, registry: Registry) -> None:
    """I.158, with a long history and the rest of it."""
    foreign = {"iaas.cluster": "other", "iaas.uid": "x", "iaas.epoch": "99", "iaas.digest": "x"}
    driver = rig.driver()
    image = registry.push("hostile", Labels=foreign, OnBuild=["RUN false"], User="0")
    driver.prepare(image, None)
    placement = rig.placement(image=image, epoch=3)

    instance = driver.create(placement, None)

    seen = now(driver, instance)
    assert (seen.uid, seen.epoch, seen.digest) == (placement.uid, 3, placement.digest)


def test_a_volume_over_everything_is_harmless(rig: DockerRig, registry: Registry) -> None:
    driver, image = rig.driver(), registry.push("volume", Volumes={"/": {}})
    driver.prepare(image, None)
    placement = rig.placement(image=image)

    instance = driver.create(placement, None)
    with pytest.raises(DriverError):
        driver.start(instance.handle)

    assert now(driver, instance).life is Life.STOPPED
    driver.remove(instance.handle)
    assert rig.remains(placement.uid) == []


def test_closing_the_driver_ends_a_pull(
    rig: DockerRig, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that is silent amid a pull holds the agent's end up no longer."""
    began, closed, ended = threading.Event(), threading.Event(), threading.Event()

    class Stuck:
        def __iter__(self) -> Iterator[dict[str, str]]:
            began.set()
            assert closed.wait(30)
            yield {"error": "the stream was closed"}

        def close(self) -> None:
            closed.set()

    monkeypatch.setattr("hyper.drivers.docker_images.pulling", lambda *_: Stuck())
    driver, image = rig.driver(), registry.push("stuck")

    def prepare() -> None:
        with suppress(DriverError):
            driver.prepare(image, None)
        ended.set()

    threading.Thread(target=prepare).start()
    assert began.wait(30)
    driver.close()
    assert ended.wait(30)


@pytest.mark.parametrize(
    ("repository", "message", "said"),
    [
        ("nginx", "manifest unknown: manifest unknown", "docker.io has no nginx@sha256:"),
        (
            "quay.io/x/y",
            "unauthorized: access to the requested resource is not authorized",
            "quay.io does not let this node have quay.io/x/y@sha256:",
        ),
        (
            "library/nginx",
            "pull access denied for library/nginx, repository does not exist or may require"
            " 'docker login': denied: requested access to the resource is denied",
            "docker.io does not let this node have library/nginx@sha256:",
        ),
        (
            "reg.lab:5000/x",
            'Get "https://reg.lab:5000/v2/": http: server gave HTTP response to HTTPS client',
            "reg.lab:5000 speaks plain HTTP",
        ),
        (
            "localhost/x",
            'Get "https://localhost/v2/": dial tcp: lookup localhost: no such host',
            "localhost cannot be reached from this node",
        ),
    ],
)
def test_why_docker_cannot_pull_in_a_sentence(repository: str, message: str, said: str) -> None:
    image = ImageRef(
        sha256=Sha256("a" * 64), format=ImageFormat.REGISTRY, size=0, repository=repository
    )
    assert str(not_pulled(image, message)).startswith(f"the registry {said}")
    assert str(not_pulled(image, "odd")) == f"docker cannot pull {reference(image)}: odd"
