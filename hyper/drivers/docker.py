"""The Docker driver: machines as containers.

Here: talking to dockerd over its local socket. Labels make a container ours, and Docker keeps them
as long as the container lives: nothing is remembered here that a restart could lose. Not here: the
engine's own restart policy (the agent restarts machines, under its lease), nor a process 1 of ours
inside (images that bring their own could not start).
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docker import APIClient

from hyper.core.model import Instance, Life, View
from hyper.drivers import DriverError, Notify, Refused
from hyper.drivers.docker_connection import Conflict, Gone, connect, plainly
from hyper.drivers.docker_images import Images
from hyper.drivers.docker_watch import Watcher
from hyper.drivers.docker_words import (
    CLUSTER,
    configuration,
    container_name,
    instance_of,
    is_id,
    limits,
    stranger,
)
from manifests.kinds.image import MachineType
from manifests.scalars import Uid
from manifests.wire import Foreign, ImageRef, Placement

SOCKET = "/var/run/docker.sock"

STOP_GRACE = 10
CALL_TIMEOUT = 60
NAME_TIMEOUT, NAME_PAUSE = 5.0, 0.02


class Docker:
    """A driver of dockerd. `grace` is how many seconds a container has to end when asked."""

    type = MachineType.DOCKER
    updates_live = True

    def __init__(self, socket: str = SOCKET, grace: int = STOP_GRACE) -> None:
        self._base_url = f"unix://{socket}"
        self._grace = grace
        self._cluster = ""
        self._ours: set[str] = set()
        """Ids known to be ours: what a container's labels say never changes."""
        self._lock = threading.Lock()
        self._client: APIClient | None = None
        self._images = Images(self._base_url, self._calls)
        self._watcher: Watcher | None = None

    def bind(self, cluster: str) -> None:
        self._cluster = cluster

    # -- seeing

    def observe(self) -> View:
        try:
            with self._calls() as client:
                listed = client.containers(all=True)
        except DriverError as error:
            return View(error=str(error))
        instances: list[Instance] = []
        foreign: list[Foreign] = []
        for summary in listed:
            instance = None
            if self._labelled(summary):
                try:
                    details = self._details(summary["Id"])
                except DriverError as error:
                    return View(error=str(error))
                if details is None:  # removed since it was listed
                    continue
                instance = self._recognise(details)
            if instance is not None:
                instances.append(instance)
            else:
                foreign.append(stranger(summary))
        return View(tuple(instances), tuple(foreign))

    def strangers(self) -> tuple[Foreign, ...]:
        with self._calls() as client:
            listed = client.containers(all=True)
            return tuple(stranger(it) for it in listed if not self._own(it))

    def _own(self, summary: Mapping[str, Any]) -> bool:
        """Whether it is ours, or gone since it was listed."""
        if not self._labelled(summary) or summary["Id"] in self._ours:
            return self._labelled(summary)
        details = self._details(summary["Id"])
        return details is None or self._recognise(details) is not None

    def _labelled(self, summary: Mapping[str, Any]) -> bool:
        return bool((summary.get("Labels") or {}).get(CLUSTER) == self._cluster)

    def inspect(self, handle: str) -> Instance | None:
        details = self._details(handle)
        return self._recognise(details) if details is not None else None

    # -- images

    def prepare(self, image: ImageRef, path: Path | None) -> int:
        return self._images.prepare(image, path)

    def discard(self, image: ImageRef) -> None:
        self._images.discard(image)

    def erase(self, uid: Uid, epoch: int) -> None:
        """Nothing: a container's files go with it, whoever removes it."""

    def leave(self) -> None:
        self._images.leave()

    # -- changing

    def create(self, placement: Placement, image: Path | None) -> Instance:
        deadline = time.monotonic() + NAME_TIMEOUT
        while time.monotonic() < deadline:
            try:
                return self._made(placement)
            except Gone:
                raise DriverError(
                    f"the image {placement.image.sha256[:12]} is not loaded"
                ) from None
            except Conflict:
                if (found := self._of_that_name(placement)) is not None:
                    return found
            # A name is taken a moment before its container is there, and freed a moment after.
            time.sleep(NAME_PAUSE)
        raise DriverError(f"{container_name(placement)} is being made or removed by somebody else")

    def start(self, handle: str) -> None:
        self._must_be_ours(handle)
        with self._calls() as client:
            client.start(handle)

    def stop(self, handle: str) -> None:
        if self._is_ours(handle):
            self._if_there(lambda client: client.stop(handle, timeout=self._grace))

    def update(self, handle: str, placement: Placement) -> None:
        self._must_be_ours(handle)
        with self._calls() as client:
            # The SDK's update_container knows no NanoCpus.
            url = f"{client.base_url}/v{client.api_version}/containers/{handle}/update"
            response = client.post(url, json=limits(placement), timeout=CALL_TIMEOUT)
            client._raise_for_status(response)

    def remove(self, handle: str) -> None:
        if self._is_ours(handle):
            self._if_there(lambda client: client.remove_container(handle, v=True, force=True))
            self._ours.discard(handle)

    # -- watching

    def watch(self, notify: Notify) -> None:
        self._watcher = Watcher(self._base_url, self._cluster, notify, self._forget_client)
        self._watcher.start()

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
        self._images.close()
        self._forget_client()

    # -- inside

    @contextmanager
    def _calls(self) -> Iterator[Any]:
        """The client for short calls, and its errors as ours. (types-docker knows half of it.)"""
        with plainly():
            yield self._connected()

    def _if_there(self, call: Callable[[Any], Any]) -> Any:
        """What `call` answers; None if what it is about is not there."""
        try:
            with self._calls() as client:
                return call(client)
        except Gone:
            return None

    def _connected(self) -> APIClient:
        with self._lock:
            if self._client is None:
                self._client = connect(self._base_url, CALL_TIMEOUT)
            return self._client

    def _forget_client(self) -> None:
        """Another engine may answer next, that speaks another version."""
        with self._lock:
            self._client = None

    def _details(self, handle: str) -> dict[str, Any] | None:
        if not is_id(handle):
            with self._calls():  # an engine that does not answer is said first
                return None
        details: dict[str, Any] | None
        details = self._if_there(lambda client: client.inspect_container(handle))
        return details

    def _recognise(self, details: Mapping[str, Any]) -> Instance | None:
        instance = instance_of(details, self._cluster)
        if instance is not None:
            self._ours.add(instance.handle)
        return instance

    def _is_ours(self, handle: str) -> bool:
        """False if it is gone; raises where it is there and foreign."""
        if handle in self._ours:
            return True
        details = self._details(handle)
        if details is not None and self._recognise(details) is None:
            raise DriverError(f"container {handle[:12]} is not ours: left alone")
        return details is not None

    def _must_be_ours(self, handle: str) -> None:
        if not self._is_ours(handle):
            raise DriverError(f"there is no container {handle[:12]!r} any more")

    def _made(self, placement: Placement) -> Instance:
        name = container_name(placement)
        with self._calls() as client:
            config = configuration(placement, self._cluster)
            made = client.create_container_from_config(config, name)
        self._ours.add(made["Id"])
        if placement.image.repository:
            self._check_image(placement, made["Id"])
        return Instance(
            uid=placement.uid,
            epoch=placement.epoch,
            type=self.type,
            handle=made["Id"],
            name=name,
            life=Life.STOPPED,
            digest=placement.digest,
            memory=placement.memory,
            cpus=placement.cpus,
            image=placement.image.sha256,
        )

    def _of_that_name(self, placement: Placement) -> Instance | None:
        """What holds the name already, if it is this very attempt; None if nothing does."""
        name = container_name(placement)
        details = self._if_there(lambda client: client.inspect_container(name))
        if details is None:
            return None
        found = self._recognise(details)
        if found is None:
            raise Refused(f"the name {name} is taken by a container that is not ours")
        if (found.uid, found.epoch) != (placement.uid, placement.epoch):
            raise DriverError(f"the container {name} is still here from attempt {found.epoch}")
        if placement.image.repository and found.life is Life.STOPPED and not found.ran:
            self._check_image(placement, found.handle)
        return found

    def _check_image(self, placement: Placement, handle: str) -> None:
        """A name can be moved to another image, a digest cannot: what was made from another one goes
        before it is ever started."""
        details = self._details(handle)
        if details is not None and details["Image"] != self._images.expected(placement.image):
            self.remove(handle)
            raise Gone("the name of the image leads to another one")
