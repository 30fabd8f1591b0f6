"""The simulated engine in the hands of the driver contract."""

from pathlib import Path
from uuid import uuid4

import pytest

from hyper.drivers import Driver
from hyper.drivers.simulated import Engine, Simulated, down
from manifests.kinds.image import FORMATS, ImageFormat, MachineType
from manifests.scalars import Sha256, Uid
from manifests.wire import ImageRef, Placement
from tests.contract.driver_contract import Rig


class DockerLike(Rig):
    type = MachineType.DOCKER

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.engine = Engine(self.type)
        self.image, self.path = self.fresh_image()

    def new_driver(self) -> Driver:
        return Simulated(self.engine)

    def unreachable_driver(self) -> Driver:
        engine = Engine(self.type)
        engine.fault = down
        return Simulated(engine)

    def fresh_image(self) -> tuple[ImageRef, Path]:
        sha256 = Sha256(uuid4().hex * 2)
        path = self.directory / sha256
        path.touch()
        return ImageRef(sha256=sha256, format=FORMATS[self.type][0], size=0), path

    def broken_image(self) -> tuple[ImageRef, Path]:
        image, path = self.fresh_image()
        self.engine.corrupt.add(image.sha256)
        return image, path

    def missing_image(self) -> tuple[ImageRef, Path]:
        return self.broken_image()  # the simulated engine reads no files

    def pulled_image(self) -> ImageRef:
        sha256 = Sha256(uuid4().hex * 2)
        return ImageRef(sha256=sha256, format=ImageFormat.REGISTRY, size=0, repository="app")

    def prepared(self, image: ImageRef) -> bool:
        return image.sha256 in self.engine.images

    def kill(self, handle: str) -> None:
        self.engine.kill(self._uid(handle))

    def finish(self, handle: str) -> None:
        self.engine.finish(self._uid(handle))

    def vanish(self, handle: str) -> None:
        self.engine.vanish(self._uid(handle))

    def pause(self, handle: str) -> None:
        self.engine.pause(self._uid(handle))

    def add_foreign(self, name: str) -> str:
        self.engine.add_foreign(name)
        return name

    def foreign_runs(self, handle: str) -> bool:
        return handle in self.engine.foreign

    def remove_foreign(self) -> None:
        self.engine.foreign.clear()

    def remains(self, uid: str) -> list[str]:
        return [instance.name for instance in self.engine.of(Uid(uid))]

    def instance_name(self, placement: Placement) -> str:
        return f"iaas-{placement.name}-{placement.uid[:8]}"

    def _uid(self, handle: str) -> Uid:
        for known in self.engine.instances.values():
            if handle in known:
                return known[handle].uid
        pytest.fail(f"no instance {handle}")


class LibvirtLike(DockerLike):
    type = MachineType.LIBVIRT
    pulls = False
