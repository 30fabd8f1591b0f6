"""The simulated engine: what Docker and libvirt do, in memory, for tests and simulations.

Here: the semantics of the driver contract, without threads, clock or randomness: the same calls
give the same results. Not here: a real engine's slowness and limits; faults come from `Engine.fault`.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hyper.core.looking import STRANGERS
from hyper.core.model import Instance, Life, View
from hyper.drivers import DriverError, EngineDown, Notify, Refused
from manifests.kinds.image import MachineType
from manifests.scalars import Sha256, Uid
from manifests.wire import Foreign, ImageRef, Placement

Fault = Callable[[str], Exception | None]
"""Asked before each call with its name (`create`) and, for calls that change something, again after
its effect (`create done`): an exception it returns is raised, as when the call or its reply is lost."""


class Engine:
    """A node's engine: shared by the drivers bound to it, it outlives them as a real one does.

    `mutations` counts the calls that a converged cluster makes none of: create, start, stop,
    update, remove, and those of prepare, discard and leave that changed something.
    """

    def __init__(self, type_: MachineType = MachineType.DOCKER) -> None:
        self.type = type_
        self.mutations = 0
        self.fault: Fault | None = None
        self.images: set[Sha256] = set()
        self.corrupt: set[Sha256] = set()
        self.foreign: dict[str, tuple[str, ...]] = {}
        self.watchers: dict[Simulated, Notify] = {}
        self.instances: dict[str, dict[str, Instance]] = {}
        self._made = 0
        self._clusters: dict[str, str] = {}
        self._names: dict[str, str] = {}

    # -- what happens on the node, behind the driver's back

    def kill(self, uid: Uid) -> None:
        """A crash of every running instance of `uid`."""
        for instance in self.running(uid):
            self.put(ended(instance, 137, "exit code 137: killed"))

    def finish(self, uid: Uid) -> None:
        """Every running instance of `uid` ends by itself and well."""
        for instance in self.running(uid):
            self.put(replace(ended(instance, 0, "exit code 0"), clean=True))

    def pause(self, uid: Uid) -> None:
        for instance in self.running(uid):
            self.put(replace(instance, life=Life.PAUSED))

    def vanish(self, uid: Uid) -> None:
        """Somebody removes every instance of `uid`."""
        for instance in self.of(uid):
            self.drop(instance.handle)

    def reboot(self) -> None:
        """The node loses power and comes back: nothing runs."""
        for uid in {each.uid for known in self.instances.values() for each in known.values()}:
            self.kill(uid)

    def add_foreign(self, name: str, *ports: str) -> None:
        self.foreign[name] = ports
        for notify in self.watchers.values():
            notify(STRANGERS)

    def of(self, uid: Uid) -> list[Instance]:
        return [
            each for known in self.instances.values() for each in known.values() if each.uid == uid
        ]

    def running(self, uid: Uid) -> list[Instance]:
        return [each for each in self.of(uid) if each.life is Life.RUNNING]

    # -- what drivers use

    def check(self, operation: str) -> None:
        if self.fault is not None and (error := self.fault(operation)) is not None:
            raise error

    def named(self, name: str) -> tuple[str, Instance] | None:
        """(cluster, instance) of that name."""
        handle = self._names.get(name)
        if handle is None:
            return None
        cluster = self._clusters[handle]
        return cluster, self.instances[cluster][handle]

    def add(self, cluster: str, placement: Placement, name: str) -> Instance:
        self._made += 1
        instance = Instance(
            uid=placement.uid,
            epoch=placement.epoch,
            type=self.type,
            handle=f"simulated-{self._made}",
            name=name,
            life=Life.STOPPED,
            digest=placement.digest,
            memory=placement.memory,
            cpus=placement.cpus,
            image=placement.image.sha256,
        )
        self._clusters[instance.handle] = cluster
        self._names[name] = instance.handle
        self.put(instance)
        return instance

    def put(self, instance: Instance) -> None:
        """The instance is now this."""
        cluster = self._clusters[instance.handle]
        self.instances.setdefault(cluster, {})[instance.handle] = instance
        self._tell(cluster, instance.handle)

    def drop(self, handle: str) -> None:
        cluster = self._clusters.pop(handle)
        del self._names[self.instances[cluster].pop(handle).name]
        self._tell(cluster, handle)

    def address(self, handle: str) -> str:
        """Of a running VM; containers are published by their own engine."""
        if self.type is not MachineType.LIBVIRT:
            return ""
        number = int(handle.rpartition("-")[2])
        return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"

    def _tell(self, cluster: str, handle: str) -> None:
        for driver, notify in list(self.watchers.items()):
            if driver.cluster == cluster:
                notify(handle)


class Simulated:
    """A driver of an `Engine`. `notify` is called by whoever changes something, in their thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.type = engine.type
        self.updates_live = engine.type is MachineType.DOCKER
        self.cluster = ""

    def bind(self, cluster: str) -> None:
        self.cluster = cluster

    def observe(self) -> View:
        try:
            self.engine.check("observe")
        except DriverError as error:
            return View(error=str(error))
        return View(tuple(self._mine().values()), self._foreign())

    def strangers(self) -> tuple[Foreign, ...]:
        self.engine.check("inspect")
        return self._foreign()

    def _foreign(self) -> tuple[Foreign, ...]:
        others = {
            instance.name: ()
            for cluster, known in self.engine.instances.items()
            if cluster != self.cluster
            for instance in known.values()
        }
        return tuple(
            Foreign(type=self.type, name=name, ports=ports)
            for name, ports in sorted((self.engine.foreign | others).items())
        )

    def inspect(self, handle: str) -> Instance | None:
        self.engine.check("inspect")
        return self._mine().get(handle)

    def prepare(self, image: ImageRef, path: Path | None) -> int:
        engine = self.engine
        engine.check("prepare")
        if path is None and self.type is MachineType.LIBVIRT:
            raise Refused(f"a VM cannot start from a {image.format} image")
        size = image.size if self.type is MachineType.DOCKER else 0
        if image.sha256 in engine.images:
            return size
        if image.sha256 in engine.corrupt:
            raise DriverError(f"the image {image.sha256[:12]} is not a good {image.format}")
        engine.images.add(image.sha256)
        engine.mutations += 1
        engine.check("prepare done")
        return size

    def create(self, placement: Placement, image: Path | None) -> Instance:
        engine = self._mutate("create")
        if image is None and self.type is MachineType.LIBVIRT:
            raise Refused(f"a VM cannot start from a {placement.image.format} image")
        name = f"iaas-{placement.name}-{placement.uid[:8]}"
        instance = self._known(placement, name)
        if instance is None:
            if placement.image.sha256 not in engine.images:
                raise DriverError(f"the image {placement.image.sha256[:12]} is not here")
            instance = engine.add(self.cluster, placement, name)
        engine.check("create done")
        return instance

    def start(self, handle: str) -> None:
        engine = self._mutate("start")
        instance = self._existing(handle)
        if instance.life is Life.PAUSED:
            raise DriverError(f"{instance.name} is paused")
        if instance.life is Life.STOPPED:
            engine.put(
                replace(
                    instance,
                    life=Life.RUNNING,
                    ran=True,
                    clean=False,
                    exit_code=None,
                    ended="",
                    ip=engine.address(handle),
                )
            )
        engine.check("start done")

    def stop(self, handle: str) -> None:
        engine = self._mutate("stop")
        instance = self._mine().get(handle)
        if instance is not None and instance.life is not Life.STOPPED:
            engine.put(ended(instance, 143, "exit code 143: stopped"))
        engine.check("stop done")

    def update(self, handle: str, placement: Placement) -> None:
        engine = self._mutate("update")
        instance = self._existing(handle)
        if not self.updates_live and instance.life is not Life.STOPPED:
            raise DriverError(f"{instance.name} runs, and its engine changes only what is stopped")
        engine.put(replace(instance, memory=placement.memory, cpus=placement.cpus))
        engine.check("update done")

    def remove(self, handle: str) -> None:
        engine = self._mutate("remove")
        if handle in self._mine():
            engine.drop(handle)
        engine.check("remove done")

    def discard(self, image: ImageRef) -> None:
        engine = self.engine
        engine.check("discard")
        if image.sha256 in engine.images:
            engine.images.discard(image.sha256)
            engine.mutations += 1
        engine.check("discard done")

    def erase(self, uid: Uid, epoch: int) -> None:
        """Nothing: a simulated instance is all there is of a machine."""

    def leave(self) -> None:
        engine = self.engine
        engine.check("leave")
        if engine.images:
            engine.images.clear()
            engine.mutations += 1
        engine.check("leave done")

    def watch(self, notify: Notify) -> None:
        self.engine.watchers[self] = notify

    def close(self) -> None:
        self.engine.watchers.pop(self, None)

    def _mine(self) -> dict[str, Instance]:
        return self.engine.instances.get(self.cluster, {})

    def _mutate(self, operation: str) -> Engine:
        self.engine.check(operation)
        self.engine.mutations += 1
        return self.engine

    def _existing(self, handle: str) -> Instance:
        instance = self._mine().get(handle)
        if instance is None:
            raise DriverError(f"{handle!r} is not a machine of this cluster")
        return instance

    def _known(self, placement: Placement, name: str) -> Instance | None:
        """What holds the name already, if it is this very attempt."""
        if name in self.engine.foreign:
            raise Refused(f"the name {name} is taken by something that is not ours")
        found = self.engine.named(name)
        if found is None:
            return None
        cluster, instance = found
        if cluster != self.cluster:
            raise Refused(f"the name {name} is taken by something that is not ours")
        if (instance.uid, instance.epoch) != (placement.uid, placement.epoch):
            raise DriverError(f"{name} is still here from attempt {instance.epoch}")
        return instance


def ended(instance: Instance, exit_code: int, sentence: str) -> Instance:
    return replace(instance, life=Life.STOPPED, exit_code=exit_code, ended=sentence, ip="")


def down(_operation: str) -> Exception | None:
    """A `fault`: the engine does not answer."""
    return EngineDown("the simulated engine does not answer")
