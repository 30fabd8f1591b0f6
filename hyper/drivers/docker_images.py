"""Images in dockerd: archives that are loaded, and images of registries that it pulls by digest.

Each gets a name of ours, and containers are made from that. A second name marks what was pulled for
us: what was there before stays when our name goes. Not here: containers, nor what is in an archive.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from hyper.drivers import DriverError, EngineDown
from hyper.drivers.docker_archive import ArchiveError, rewritten
from hyper.drivers.docker_connection import Conflict, Gone, connect, plainly, pulling
from hyper.drivers.docker_words import (
    PULLED,
    REPOSITORY,
    digests_of,
    not_pulled,
    pulled_tag,
    reference,
    tag,
    tags_of_ours,
)
from manifests.wire import ImageRef

LONG_TIMEOUT = 600
"""Seconds without a sign of life. Unpacking a large layer is silent."""
Details = dict[str, Any]


class Images:
    """`calls` gives a client for short calls, and makes its errors ours."""

    def __init__(self, base_url: str, calls: Callable[[], AbstractContextManager[Any]]) -> None:
        self._base_url = base_url
        self._calls = calls
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._pulls: set[Any] = set()
        self._closed = False

    def prepare(self, image: ImageRef, path: Path | None) -> int:
        """Bytes that the engine keeps of it."""
        with self._locks[image.sha256]:
            if path is None:
                return self._size(self._prepare_pulled(image))
            if (found := self._inspect(tag(image))) is None:
                self._load(image, path)
                found = self._inspect(tag(image))
        if found is None:
            raise DriverError(f"docker did not load the image {image.sha256[:12]}")
        return self._size(found)

    def expected(self, image: ImageRef) -> str:
        """The id that a container of this image must have been made from; "" if any of our name is
        as good. Raises Gone where the image is not here."""
        if not image.repository:
            return ""
        if (found := self._inspect(reference(image))) is None:
            raise Gone(f"the image {image.sha256[:12]} is not here")
        return str(found["Id"])

    def discard(self, image: ImageRef) -> None:
        with self._locks[image.sha256]:
            pulled = self._inspect(pulled_tag(image.sha256))
            if pulled is None:
                self._remove(tag(image))
                return
            with self._calls() as client:
                if client.containers(all=True, filters={"ancestor": pulled["Id"]}):
                    raise Conflict(f"the image {image.sha256[:12]} is in use by a container")
            for name in tags_of_ours([pulled]):
                self._remove(name)

    def leave(self) -> None:
        """Everything that carries a name of ours goes, but for what a container is made from."""
        with self._calls() as client:
            names = tags_of_ours(client.images())
        for name in names:
            with suppress(Conflict):  # another agent on this host runs a machine of it
                self._remove(name)

    def close(self) -> None:
        """Pulls under way end; what came of them is dockerd's."""
        self._closed = True
        for stream in list(self._pulls):
            with suppress(Exception):
                stream.close()

    # -- archives

    def _load(self, image: ImageRef, path: Path) -> None:
        try:
            pieces = rewritten(path, tag(image))
            first = next(pieces)  # a bad archive is found out before the engine hears of it
            with self._long() as client:
                for line in client.load_image(chain([first], pieces)):
                    if "error" in line:
                        raise DriverError(f"docker does not load the image: {line['error']}")
        except ArchiveError as error:
            raise DriverError(f"the image {image.sha256[:12]} cannot be loaded: {error}") from None

    # -- registries

    def _prepare_pulled(self, image: ImageRef) -> Details:
        found = self._inspect(reference(image))
        if mine := found is None:
            self._pull(image)
            found = self._inspect(reference(image))
        if found is None or not digests_of(found, image.sha256):
            raise DriverError(f"docker did not get {reference(image)}")
        if mine:
            self._name(found["Id"], PULLED, image)
        ours = self._inspect(tag(image))
        if ours is None or ours["Id"] != found["Id"]:
            self._name(found["Id"], REPOSITORY, image)
        return found

    def _pull(self, image: ImageRef) -> None:
        """By its digest, never by a tag."""
        try:
            with self._long() as client:
                stream = pulling(client, image.repository, f"sha256:{image.sha256}")
                self._pulls.add(stream)
                try:
                    for line in () if self._closed else stream:
                        if "error" in line:
                            raise DriverError(str(line["error"]))
                finally:
                    self._pulls.discard(stream)
        except EngineDown:
            raise
        except DriverError as error:
            raise not_pulled(image, str(error)) from None

    def _name(self, id_: str, repository: str, image: ImageRef) -> None:
        with self._calls() as client:
            client.tag(id_, repository, image.sha256)

    # -- inside

    @contextmanager
    def _long(self) -> Iterator[Any]:
        with plainly():
            client: Any = connect(self._base_url, LONG_TIMEOUT)
            try:
                yield client
            finally:
                client.close()

    def _inspect(self, name: str) -> Details | None:
        with suppress(Gone), self._calls() as client:
            details: Details = client.inspect_image(name)
            return details
        return None

    def _remove(self, name: str) -> None:
        with suppress(Gone), self._calls() as client:
            client.remove_image(name)

    @staticmethod
    def _size(details: Details) -> int:
        return int(details["Size"])
