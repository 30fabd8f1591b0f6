"""A real dockerd in the hands of the driver contract."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from docker.errors import NotFound

from hyper.drivers import Driver
from hyper.drivers.docker import Docker
from hyper.drivers.docker_connection import connect
from hyper.drivers.docker_words import container_name, tag
from manifests.kinds.image import MachineType
from manifests.scalars import Cpus
from manifests.wire import ImageRef, Placement
from tests import docker_images
from tests.contract.driver_contract import Rig
from tests.registry import Registry

SOCKET = "/var/run/docker.sock"


class DockerRig(Rig):
    type = MachineType.DOCKER
    cpus = (Cpus(500), Cpus(1000))

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.client: Any = connect(f"unix://{SOCKET}", 60)
        self.names: list[str] = []
        """Images to remove in the end."""
        self._foreign: list[str] = []
        self._registry: Registry | None = None
        self.image, self.path = self.fresh_image()
        self.base = f"iaas-test-{uuid4().hex[:12]}"

    def new_driver(self) -> Driver:
        return Docker(SOCKET)

    def unreachable_driver(self) -> Driver:
        return Docker(str(self.directory / "no.sock"))

    def fresh_image(self) -> tuple[ImageRef, Path]:
        path = self.directory / f"{uuid4()}.tar"
        image = docker_images.busybox(path, Labels={"test": path.name}, Volumes={"/data": {}})
        self.names.append(tag(image))
        return image, path

    def broken_image(self) -> tuple[ImageRef, Path]:
        path = self.directory / f"{uuid4()}.tar"
        path.write_bytes(b"not a tar" * 1000)
        return docker_images.reference(path), path

    def pulled_image(self) -> ImageRef:
        if self._registry is None:
            self._registry = Registry(self.directory / "registry")
            self._registry.start()
        return self._registry.push("app")

    def prepared(self, image: ImageRef) -> bool:
        return bool(self.client.images(name=tag(image)))

    def kill(self, handle: str) -> None:
        self.client.kill(handle)

    def finish(self, handle: str) -> None:
        self.client.kill(handle, signal="USR1")

    def vanish(self, handle: str) -> None:
        self.client.remove_container(handle, v=True, force=True)

    def pause(self, handle: str) -> None:
        self.client.pause(handle)

    def add_foreign(self, name: str) -> str:
        handle = self.foreign_container(name)
        self.client.start(handle)
        return handle

    def foreign_container(self, name: str, image: str = "", **config: object) -> str:
        """A container that somebody made by hand, from an image of theirs."""
        if not image:
            self.own_image()
        made = self.client.create_container_from_config(
            {"Image": image or self.base, "HostConfig": {}, **config}, name
        )
        handle = str(made["Id"])
        self._foreign.append(handle)
        return handle

    def foreign_runs(self, handle: str) -> bool:
        return bool(self.client.inspect_container(handle)["State"]["Running"])

    def remove_foreign(self) -> None:
        for handle in self._foreign:
            with absent_is_fine():
                self.client.remove_container(handle, v=True, force=True)
        self._foreign.clear()

    def remains(self, uid: str) -> list[str]:
        found = self.client.containers(all=True, filters={"label": [f"iaas.uid={uid}"]})
        return [container["Names"][0] for container in found]

    def instance_name(self, placement: Placement) -> str:
        return container_name(placement)

    def close(self) -> None:
        if self._registry is not None:
            self._registry.close()
        for name in [self.base, *self.names]:
            with absent_is_fine():
                self.client.remove_image(name)
        self.client.close()

    def own_image(self) -> None:
        if self.client.images(name=self.base):
            return
        path = self.directory / "foreign.tar"
        docker_images.busybox(path, tags=[f"{self.base}:latest"], Labels={"test": self.base})
        with path.open("rb") as file:
            for _ in self.client.load_image(file):
                pass


@contextmanager
def absent_is_fine() -> Iterator[None]:
    with suppress(NotFound):
        yield
