"""The cached snapshot is what a fresh Store reads, after any history."""

import random

import pytest

from manifests.scalars import Name
from reconciler.core.desired import Change
from reconciler.core.model import Object, Placed, Stage
from reconciler.core.plan import Forget, Operation, Release, Retire, Update
from reconciler.store import PortTaken, Store
from reconciler.store import apply as operations
from tests.reconciler.world import create, image, machine, node, placing, plan

NODES = ("node1", "node2", "node3")


class History:
    """Random writes of every sort, as a controller and users would make them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.store = Store()
        self.store.take_term()
        self.number = 0
        self.epochs: dict[str, int] = {}

    def step(self) -> None:
        self.random.choice((self.submit, self.commit, self.commit))()

    def submit(self) -> None:
        snapshot = self.store.snapshot()
        changes = [self.change(item) for item in self.some(list(snapshot.objects.values()))]
        made = [self.create() for _ in range(self.random.randrange(3))]
        taken = set(snapshot.objects) | {change.key for change in changes}
        changes += [change for change in made if change.key not in taken]
        unique = list({change.key: change for change in changes}.values())
        self.store.submit(unique, revision=snapshot.revision)

    def some(self, items: list[Object]) -> list[Object]:
        items.sort(key=lambda item: item.key)
        return self.random.sample(items, min(len(items), self.random.randrange(3)))

    def create(self) -> Change:
        self.number += 1
        name = f"x{self.random.randrange(20)}"
        make = self.random.choice((self.machine, self.machine, node, image))
        return create(self.number, make(name))

    def machine(self, name: str) -> dict[str, object]:
        ports = [f"{self.random.randrange(80, 110)}:80"] if self.random.random() < 0.5 else []
        return machine(name, ports=ports, memory=f"{self.random.randrange(8, 64)}Mi")

    def change(self, item: Object) -> Change:
        if item.deleting or self.random.random() < 0.3:
            return Change(key=item.key, before=item, after=None)
        data = {"Machine": self.machine, "Node": node, "Image": image}[item.manifest.kind]
        after = create(0, data(item.name)).after
        assert after is not None
        changed = Object(
            uid=item.uid,
            source=item.source,
            manifest=after.manifest,
            generation=item.generation + 1,
            created=item.created,
        )
        return Change(key=item.key, before=item, after=changed)

    def commit(self) -> None:
        snapshot = self.store.snapshot()
        held = {placed.uid for placed in snapshot.placements}
        found: list[Operation] = []
        for placed in snapshot.placements:
            found += self.operations_on(placed)
        for (where, uid_), epoch in sorted(snapshot.gone.items()):
            if uid_ not in held and self.random.random() < 0.1:
                found.append(self.retire(where, uid_, epoch))
                held.add(uid_)
        for item in sorted(snapshot.objects.values(), key=lambda item: item.key):
            found += self.operations_for(item, held)
        try:
            self.store.commit(plan(*found), revision=snapshot.revision, term=1)
        except PortTaken:
            assert self.store.snapshot() is snapshot

    def retire(self, where: str, uid_: str, epoch: int) -> Retire:
        return Retire(name=Name("x"), uid=uid_, epoch=epoch, node=Name(where), reason="test")  # type: ignore[arg-type]

    def operations_on(self, placed: Placed) -> list[Operation]:
        if self.random.random() < 0.5:
            return []
        if placed.stage is Stage.LEAVING:
            return [
                Release(
                    name=placed.wire.name,
                    uid=placed.uid,
                    epoch=placed.epoch,
                    node=placed.node,
                    reason="test",
                )
            ]
        if self.random.random() < 0.5:
            return [self.retire(placed.node, placed.uid, placed.epoch)]
        return [Update(node=placed.node, spec=placed.spec, wire=placed.wire, reason="test")]

    def operations_for(self, item: Object, held: set[str]) -> list[Operation]:
        if item.uid in held or self.random.random() < 0.5:
            return []
        if item.deleting:
            return [Forget(kind=item.manifest.kind, name=item.name, uid=item.uid, reason="test")]
        if item.manifest.kind != "Machine":
            return []
        epoch = self.epochs[item.uid] = self.epochs.get(item.uid, 0) + 1
        return [placing(item, epoch, self.random.choice(NODES))]


@pytest.mark.parametrize("seed", range(40))
def test_the_cached_snapshot_is_what_a_fresh_store_reads(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "REMEMBERED", 5)
    monkeypatch.setattr(operations, "PRUNED_EVERY", 1)
    history = History(seed)
    for _ in range(40):
        history.step()
        cached, fresh = history.store.snapshot(), Store(history.store.database).snapshot()
        assert cached == fresh
        assert [item.wire for item in cached.placements] == [item.wire for item in fresh.placements]
    assert history.store.snapshot().revision > 10
