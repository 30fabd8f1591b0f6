"""What is known of the engines, put together from looks that may end in another order than they began.

Every look takes a ticket before it begins. A look never overwrites what a later one saw; what an
even later change was, its own event will tell.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from hyper.core.model import Instance, View
from manifests.kinds.image import MachineType
from manifests.wire import Foreign

NOT_YET = "not looked at yet"


@dataclass(slots=True)
class Engine:
    """One engine. `known` is false before the first full look and while it does not answer."""

    known: bool = False
    error: str = NOT_YET
    instances: dict[str, Instance] = field(default_factory=dict)
    tickets: dict[str, int] = field(default_factory=dict)
    foreign: tuple[Foreign, ...] = ()
    foreign_ticket: int = 0

    def looked(self, view: View, ticket: int) -> None:
        """A full look that began with `ticket`."""
        if view.error:
            self.lost(view.error)
            return
        later = {handle for handle, seen in self.tickets.items() if seen > ticket}
        kept = {handle: it for handle, it in self.instances.items() if handle in later}
        fresh = {it.handle: it for it in view.instances if it.handle not in later}
        self.instances = fresh | kept
        self.tickets = dict.fromkeys(fresh, ticket) | {h: self.tickets[h] for h in later}
        self.strangers(view.foreign, ticket)
        self.known, self.error = True, ""

    def strangers(self, foreign: tuple[Foreign, ...], ticket: int) -> None:
        if ticket > self.foreign_ticket:
            self.foreign, self.foreign_ticket = foreign, ticket

    def inspected(self, handle: str, instance: Instance | None, ticket: int) -> None:
        """A look at one instance; None: it is gone."""
        if ticket < self.tickets.get(handle, 0):
            return
        self.tickets[handle] = ticket
        if instance is None:
            self.instances.pop(handle, None)
        else:
            self.instances[handle] = instance

    def lost(self, error: str) -> None:
        """The engine does not answer: what it runs is unknown, not gone."""
        self.known, self.error = False, error


class Views:
    """All engines of the node."""

    def __init__(self, types: tuple[MachineType, ...]) -> None:
        self.engines = {type_: Engine() for type_ in types}

    def looked(self) -> bool:
        """Whether every engine has been asked once, with whatever result."""
        return all(engine.error != NOT_YET for engine in self.engines.values())

    def instances(self) -> Iterator[Instance]:
        """Instances of the engines that answer."""
        for engine in self.engines.values():
            if engine.known:
                yield from engine.instances.values()

    def by_uid(self) -> dict[str, list[Instance]]:
        """Instances by uid, earliest epoch first."""
        found: dict[str, list[Instance]] = {}
        for instance in sorted(self.instances(), key=lambda it: it.epoch):
            found.setdefault(instance.uid, []).append(instance)
        return found
