"""How each operation of a plan is written: one table. Nothing is decided here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import peewee

from manifests.scalars import Name, Port, Uid
from reconciler.core.model import Stage
from reconciler.core.plan import Forget, Operation, Place, Release, Retire, Update
from reconciler.store.database import Database
from reconciler.store.errors import BadPlan, Duplicate, PortTaken, StoreError
from reconciler.store.rows import placement_row
from reconciler.store.tables import GenerationRow, ObjectRow, PlacementRow, PortClaimRow
from reconciler.store.view import PlacementId, Touched, batches

REMEMBERED = 10_000
"""So many gone placements of forgotten machines are kept; of others, the last on each node."""
PRUNED_EVERY = 64
"""Revisions. Looking for what can be forgotten takes a while."""


@dataclass(slots=True)
class Work:
    """One write in the making. `generations` are those of the nodes it touches."""

    database: Database
    revision: int
    touched: Touched = field(default_factory=Touched)
    generations: dict[str, int] = field(default_factory=dict)
    placed: list[dict[str, Any]] = field(default_factory=list)
    claims: list[tuple[Name, Port, PlacementId]] = field(default_factory=list)

    def one(self, query: Any, what: object) -> None:
        """Run an UPDATE or DELETE that must meet exactly one row."""
        if self.database.run(query) != 1:
            raise BadPlan(f"{what}: there is nothing of that kind in the store")


def execute(work: Work, operations: tuple[Operation, ...]) -> None:
    """All operations of a plan."""
    for node in sorted({str(op.node) for op in operations if not isinstance(op, Forget)}):
        work.generations[node] = _bump(work.database, node)
        work.touched.nodes.add(node)
    for op in operations:
        APPLY[type(op)](work, op)
    _insert(work)
    if any(isinstance(op, Release) for op in operations):
        _prune(work)


def _bump(database: Database, node: str) -> int:
    added = GenerationRow.insert(node=node, generation=1).on_conflict(
        conflict_target=[GenerationRow.node],
        update={GenerationRow.generation: GenerationRow.generation + 1},
    )
    database.run(added)
    row = GenerationRow.select(GenerationRow.generation).where(GenerationRow.node == node)
    ((generation,),) = database.rows(row)
    return int(generation)


def place(work: Work, op: Place) -> None:
    key = (op.wire.uid, op.wire.epoch)
    row = placement_row(op.spec, op.wire) | {
        "uid": key[0],
        "epoch": key[1],
        "node": op.node,
        "stage": Stage.ACTIVE,
        "generation": work.generations[op.node],
        "since": work.revision,
    }
    work.placed.append(row)
    work.touched.placements.add(key)
    work.claims += [(op.node, port, key) for port in op.wire.ports]


def update(work: Work, op: Update) -> None:
    key = (op.wire.uid, op.wire.epoch)
    row = placement_row(op.spec, op.wire) | {"generation": work.generations[op.node]}
    work.one(PlacementRow.update(row).where(_at(key, op.node, Stage.ACTIVE)), op)
    work.touched.placements.add(key)
    _free(work.database, key)
    work.claims += [(op.node, port, key) for port in op.wire.ports]


def retire(work: Work, op: Retire) -> None:
    """An active one keeps its place and its ports; one that was gone comes back without ports, on
    the node where it appeared."""
    key = (op.uid, op.epoch)
    row = {"stage": Stage.LEAVING, "generation": work.generations[op.node]}
    active = PlacementRow.update(row).where(_at(key, op.node, Stage.ACTIVE))
    if not work.database.run(active):
        origin = op.gone_on or op.node
        row |= {"since": work.revision, "node": op.node}
        work.one(PlacementRow.update(row).where(_at(key, origin, Stage.GONE)), op)
        work.touched.gone |= {(op.node, op.uid), (origin, op.uid)}
    work.touched.placements.add(key)


def release(work: Work, op: Release) -> None:
    key = (op.uid, op.epoch)
    row = {"stage": Stage.GONE, "since": work.revision, "generation": work.generations[op.node]}
    work.one(PlacementRow.update(row).where(_at(key, op.node, Stage.LEAVING)), op)
    _free(work.database, key)
    work.touched.placements.add(key)
    work.touched.gone.add((op.node, op.uid))


def forget(work: Work, op: Forget) -> None:
    row = ObjectRow.delete().where(
        (ObjectRow.uid == op.uid) & ObjectRow.deleting & (ObjectRow.kind == op.kind)
    )
    work.one(row, op)
    work.touched.objects[op.kind, op.name] = op.uid


APPLY: dict[type[Operation], Callable[[Work, Any], None]] = {
    Place: place,
    Update: update,
    Retire: retire,
    Release: release,
    Forget: forget,
}


def _at(key: PlacementId, node: str, stage: Stage) -> Any:
    uid, epoch = key
    return (
        (PlacementRow.uid == uid)
        & (PlacementRow.epoch == epoch)
        & (PlacementRow.node == node)
        & (PlacementRow.stage == stage)
    )


def _free(database: Database, key: PlacementId) -> None:
    uid, epoch = key
    owned = (PortClaimRow.uid == uid) & (PortClaimRow.epoch == epoch)
    database.run(PortClaimRow.delete().where(owned))


def _insert(work: Work) -> None:
    """New placements, then the ports of new and updated ones: ports may change hands in one plan."""
    try:
        work.database.insert(PlacementRow, work.placed)
    except Duplicate:
        raise BadPlan("a machine would be placed with an epoch that is used up") from None
    rows = [
        {"node": node, "protocol": port.protocol, "port": port.node, "uid": uid, "epoch": epoch}
        for node, port, (uid, epoch) in work.claims
    ]
    try:
        work.database.insert(PortClaimRow, rows)
    except Duplicate:
        raise _taken(work) from None


def _taken(work: Work) -> StoreError:
    """Which of the claims has another owner."""
    for node, port, claimant in work.claims:
        where = (
            (PortClaimRow.node == node)
            & (PortClaimRow.protocol == port.protocol)
            & (PortClaimRow.port == port.node)
        )
        for uid, epoch in work.database.rows(_owner().where(where)):
            if (uid, epoch) != claimant:
                named = ObjectRow.select(ObjectRow.name).where(ObjectRow.uid == uid)
                names = [name for (name,) in work.database.rows(named)]
                return PortTaken(node, port.protocol, port.node, Uid(uid), *names or [uid])
    return BadPlan("a machine would claim one port twice")


def _owner() -> Any:
    return PortClaimRow.select(PortClaimRow.uid, PortClaimRow.epoch)


def _prune(work: Work) -> None:
    """Forget gone placements that a later one stands for, and the oldest of forgotten machines."""
    gone = PlacementRow.stage == Stage.GONE
    other = PlacementRow.alias()
    higher = other.select(other.epoch).where(
        (other.uid == PlacementRow.uid)
        & (other.node == PlacementRow.node)
        & (other.stage == Stage.GONE)
        & (other.epoch > PlacementRow.epoch)
    )
    for uids in batches({uid for _, uid in work.touched.gone}):
        mine = PlacementRow.uid.in_(uids)
        work.database.run(PlacementRow.delete().where(gone & mine & peewee.fn.EXISTS(higher)))
    if work.revision % PRUNED_EVERY == 0:
        _prune_oldest(work)


def _prune_oldest(work: Work) -> None:
    oldest = """DELETE FROM placement WHERE rowid IN (
        SELECT rowid FROM placement
        WHERE stage = 'gone' AND uid NOT IN (SELECT uid FROM object)
        ORDER BY since DESC, rowid DESC LIMIT -1 OFFSET ?) RETURNING node, uid"""
    work.touched.gone.update(work.database.sql(oldest, [REMEMBERED]))
