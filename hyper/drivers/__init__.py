"""Drivers: one file per engine, behind one Protocol, proved by one contract suite.

Here: talking to one engine, thinly and idempotently. Not here: deciding what should run.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from hyper.core.model import Instance, View
from manifests.kinds.image import MachineType
from manifests.scalars import Uid
from manifests.wire import Foreign, ImageRef, Placement

Notify = Callable[[str | None], None]
"""Called from a driver's own thread with the handle that changed, STRANGERS where something that is
not ours did, or None: look at everything."""


class DriverError(Exception):
    """The engine refused or failed. The message is a sentence for people, without secrets.

    DriverError            the call failed; trying again may help
      EngineDown           the engine does not answer: what it runs is unknown
      Refused              the engine will refuse it again: the placement itself is wrong
    """


class EngineDown(DriverError):
    pass


class Refused(DriverError):
    pass


class Driver(Protocol):
    """One engine. Calls block, may come from several threads, raise DriverError, and are idempotent:
    what is there already, or gone already, is success. Nothing that does not carry the label of the
    driver's cluster is ever touched.
    """

    type: MachineType

    def bind(self, cluster: str) -> None:
        """Own what carries this cluster's label from now on; called once before anything else."""

    def observe(self) -> View:
        """Everything on the engine. Never raises: an engine that does not answer is View(error=...)."""

    def strangers(self) -> tuple[Foreign, ...]:
        """What is not ours, with the ports of the node that it has published."""

    def inspect(self, handle: str) -> Instance | None:
        """One of our instances now, None if gone or not ours."""

    def prepare(self, image: ImageRef, path: Path | None) -> int:
        """Make the verified bytes at `path` startable (docker: load them); a no-op when they are.
        Without a path the engine gets them itself, from the image's registry by its digest. The
        bytes that the engine keeps of it."""

    def create(self, placement: Placement, image: Path | None) -> Instance:
        """Make the instance, not started. One with the same uid and epoch is returned as it is."""

    def start(self, handle: str) -> None: ...

    def stop(self, handle: str) -> None:
        """Ask it to end, then make it, within the driver's grace; gone or stopped is success."""

    def update(self, handle: str, placement: Placement) -> None:
        """Make memory and cpus those of `placement`. Where `updates_live` is false the instance is
        stopped when this is called."""

    updates_live: bool

    def remove(self, handle: str) -> None:
        """Kill and remove it with all that belongs to it: disk, metadata, addresses."""

    def erase(self, uid: Uid, epoch: int) -> None:
        """Remove what is left of instances of `uid` up to `epoch` that the engine itself no longer
        knows: the disk of a domain that somebody undefined."""

    def discard(self, image: ImageRef) -> None:
        """Drop what `prepare` made of an image no machine needs."""

    def leave(self) -> None:
        """Remove what the driver itself keeps on the host once no machine is left: its network,
        the images that `prepare` made. Called when the agent leaves the host for good."""

    def watch(self, notify: Notify) -> None:
        """Start telling of changes, from a thread of its own, until `close`; after any gap in the
        stream notify(None) is called once the engine answers again."""

    def close(self) -> None: ...
