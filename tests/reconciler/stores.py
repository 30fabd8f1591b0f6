"""What the tests of the store share."""

from manifests.scalars import Name
from reconciler.core.events import Event
from reconciler.core.model import Object
from reconciler.core.plan import Release, Retire
from reconciler.store import (
    Store,
)
from tests.reconciler.world import create


def stored(store: Store, name: str) -> Object:
    return store.snapshot().objects["Machine", name]


def filled(*documents: dict[str, object]) -> tuple[Store, int]:
    """A store with these documents, and its revision."""
    store = Store()
    store.take_term()
    changes = [create(number, data) for number, data in enumerate(documents, 1)]
    return store, store.submit(changes, revision=1)


def leaving(item: Object, epoch: int = 1, where: str = "node1") -> Retire:
    return Retire(name=item.name, uid=item.uid, epoch=epoch, node=Name(where), reason="test")


def gone(item: Object, epoch: int = 1, where: str = "node1") -> Release:
    return Release(name=item.name, uid=item.uid, epoch=epoch, node=Name(where), reason="test")


def event(name: str, at: float = 1.0) -> Event:
    return Event(at=at, kind="Machine", name=name, uid="", reason="Tested", message="a test")
