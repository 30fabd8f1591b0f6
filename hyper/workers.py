"""Carries out steps: a lookup from the type of step to one call of a driver, then a look.

Nothing is decided here. Whatever happens becomes an Outcome; only a bug raises.
"""

import itertools
import logging
from collections.abc import Callable, Mapping
from typing import Any

from hyper.core.looking import STRANGERS
from hyper.core.model import View
from hyper.core.room import Lack
from hyper.core.steps import (
    Create,
    Discard,
    Erase,
    Look,
    Outcome,
    Prepare,
    Publish,
    Remove,
    Start,
    Step,
    Stop,
    Update,
    key_of,
)
from hyper.download import ImageError, Source
from hyper.drivers import Driver, DriverError, EngineDown
from hyper.images import ImageCache, NoRoom
from hyper.ports import Publisher, PublishError
from manifests.kinds.image import MachineType
from manifests.wire import Assignment

log = logging.getLogger("hyper")


class Workers:
    """`assignment` gives the present one: where the bytes of images are fetched from."""

    def __init__(
        self,
        *,
        drivers: Mapping[MachineType, Driver],
        images: ImageCache,
        publisher: Publisher | None,
        assignment: Callable[[], Assignment | None],
    ) -> None:
        self._drivers = drivers
        self._images = images
        self._publisher = publisher
        self._assignment = assignment
        self._tickets = itertools.count(1)

    def perform(self, step: Step) -> Outcome:
        try:
            return PERFORM[type(step)](self, step)
        except EngineDown as error:
            return Outcome(ticket=next(self._tickets), error=str(error), down=True)
        except (DriverError, ImageError, PublishError) as error:
            return self._after(step, str(error))
        except Exception:
            # Not the step itself: its placement may carry secrets in its environment.
            log.exception("bug: %s of %s failed", type(step).__name__, key_of(step))
            return self._bug()

    def _after(self, step: Step, error: str) -> Outcome:
        """A failed call may have done its work all the same: look."""
        if isinstance(step, Prepare | Discard):
            return self._of_image(step, error)
        handle = getattr(step, "handle", None)
        if not handle or isinstance(step, Look):
            return Outcome(ticket=next(self._tickets), error=error)
        try:
            return self._inspect(step, handle, error)
        except DriverError as trouble:
            down = isinstance(trouble, EngineDown)
            return Outcome(ticket=next(self._tickets), error=error, down=down)
        except Exception:
            log.exception("bug: looking at %s failed", handle)
            return self._bug()

    def _bug(self) -> Outcome:
        return Outcome(ticket=next(self._tickets), error="internal error; see the agent's log")

    def _inspect(self, step: Any, handle: str, error: str = "") -> Outcome:
        ticket = next(self._tickets)
        instance = self._drivers[step.type].inspect(handle)
        return Outcome(ticket=ticket, error=error, handle=handle, instance=instance)

    def prepare(self, step: Prepare) -> Outcome:
        type_, image = step.type, step.image
        try:
            self._images.note(type_, image)
            path = None if image.repository else self._images.fetch(image, self._source())
            self._images.hold(type_, image, self._drivers[type_].prepare(image, path))
        except NoRoom as error:
            return self._of_image(step, str(error), error.lack)
        return self._of_image(step)

    def discard(self, step: Discard) -> Outcome:
        self._drivers[step.type].discard(step.image)
        self._images.drop(step.type, step.image)
        return self._of_image(step)

    def _source(self) -> Source:
        told = self._assignment()
        if told is None:
            raise ImageError("no controller has told where images are")
        return Source(told.images_url, told.images_token)

    def _of_image(
        self, step: Prepare | Discard, error: str = "", lack: Lack | None = None
    ) -> Outcome:
        return Outcome(
            ticket=next(self._tickets),
            error=error,
            stock=self._images.stock_of(step.type, step.image),
            lack=lack,
            short=self._images.short(),
        )

    def create(self, step: Create) -> Outcome:
        image = step.placement.image
        path = None if image.repository else self._images.path(image)
        if path is None and not image.repository:
            raise ImageError("the bytes of the image are gone from the cache")
        ticket = next(self._tickets)
        instance = self._drivers[step.type].create(step.placement, path)
        return Outcome(ticket=ticket, handle=instance.handle, instance=instance)

    def start(self, step: Start) -> Outcome:
        self._drivers[step.type].start(step.handle)
        return self._inspect(step, step.handle)

    def stop(self, step: Stop) -> Outcome:
        self._drivers[step.type].stop(step.handle)
        return self._inspect(step, step.handle)

    def update(self, step: Update) -> Outcome:
        self._drivers[step.type].update(step.handle, step.placement)
        return self._inspect(step, step.handle)

    def remove(self, step: Remove) -> Outcome:
        self._drivers[step.type].remove(step.handle)
        return Outcome(ticket=next(self._tickets), handle=step.handle)

    def erase(self, step: Erase) -> Outcome:
        self._drivers[step.type].erase(step.uid, step.epoch)
        return Outcome(ticket=next(self._tickets))

    def publish(self, step: Publish) -> Outcome:
        if self._publisher is None:
            raise PublishError("this agent has no publisher of ports")
        refused = self._publisher.publish(step.wanted)
        return Outcome(ticket=next(self._tickets), refused=refused)

    def look(self, step: Look) -> Outcome:
        ticket, driver = next(self._tickets), self._drivers[step.type]
        if step.handle == STRANGERS:
            return Outcome(ticket=ticket, view=View(foreign=driver.strangers()))
        if step.handle is not None:
            return self._inspect(step, step.handle)
        return Outcome(ticket=ticket, view=driver.observe(), short=self._images.short())


PERFORM: dict[type, Callable[[Workers, Any], Outcome]] = {
    Prepare: Workers.prepare,
    Discard: Workers.discard,
    Create: Workers.create,
    Start: Workers.start,
    Stop: Workers.stop,
    Update: Workers.update,
    Remove: Workers.remove,
    Erase: Workers.erase,
    Publish: Workers.publish,
    Look: Workers.look,
}
