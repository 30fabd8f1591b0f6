"""The snapshot in memory: read whole once, then only the rows that a write touched are read again.

Invariant: `reread` gives what `read` would give.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from manifests.scalars import Uid
from reconciler.core.model import Key, Object, Placed, Snapshot, Stage
from reconciler.store.database import Database
from reconciler.store.rows import object_from, placed_from
from reconciler.store.tables import GenerationRow, ObjectRow, PlacementRow

PlacementId = tuple[str, int]
BATCH = 500


@dataclass(frozen=True, slots=True)
class View:
    """`live` are the placements that are not gone, in the order in which they came to be."""

    snapshot: Snapshot
    live: dict[PlacementId, Placed]


@dataclass(slots=True)
class Touched:
    """What a write changed. `gone` are (node, uid) whose highest gone epoch may be another now."""

    objects: dict[Key, Uid] = field(default_factory=dict)
    placements: set[PlacementId] = field(default_factory=set)
    gone: set[tuple[str, str]] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)


def read(database: Database) -> View:
    """Inside `database.read` or `write`."""
    rows = database.rows(
        PlacementRow.select()
        .where(PlacementRow.stage != Stage.GONE)
        .order_by(PlacementRow.since, PlacementRow.uid, PlacementRow.epoch)
    )
    live = {(row[0], row[1]): placed_from(row) for row in rows}
    objects = map(object_from, database.rows(ObjectRow.select().order_by(ObjectRow.uid)))
    gone = database.rows(_gone())
    snapshot = Snapshot(
        **_meta(database),
        objects={item.key: item for item in objects},
        placements=tuple(live.values()),
        gone={(node, uid): epoch for node, uid, epoch in _ascending(gone)},
        generations=dict(database.rows(GenerationRow.select())),
    )
    return View(snapshot, live)


def reread(database: Database, view: View, touched: Touched) -> View:
    """The view after a write. Inside `database.write`."""
    before = view.snapshot
    live = _live(database, view.live, touched) if touched.placements else view.live
    snapshot = replace(
        before,
        **_meta(database),
        objects=_objects(database, before, touched) if touched.objects else before.objects,
        placements=tuple(live.values()) if touched.placements else before.placements,
        gone=_gone_again(database, before, touched) if touched.gone else before.gone,
        generations=_generations(database, before, touched)
        if touched.nodes
        else before.generations,
    )
    return View(snapshot, live)


def _meta(database: Database) -> dict[str, Any]:
    row = database.sql("SELECT cluster, revision FROM meta")
    ((cluster, revision),) = row
    return {"cluster": Uid(cluster), "revision": revision}


def _live(
    database: Database, live: dict[PlacementId, Placed], touched: Touched
) -> dict[PlacementId, Placed]:
    rows: list[tuple[object, ...]] = []
    for uids in batches({uid for uid, _ in touched.placements}):
        rows += database.rows(PlacementRow.select().where(PlacementRow.uid.in_(uids)))
    result = dict(live)
    found = {(row[0], row[1]): row for row in sorted(rows, key=_order)}
    for key, row in found.items():
        if key in touched.placements and row[3] != Stage.GONE:
            result[key] = placed_from(row)
    for key in touched.placements:
        if key not in found or found[key][3] == Stage.GONE:
            result.pop(key, None)
    return result


def _order(row: tuple[object, ...]) -> tuple[object, ...]:
    uid, epoch, *_, since = row
    return since, uid, epoch


def _objects(database: Database, before: Snapshot, touched: Touched) -> dict[Key, Object]:
    objects = dict(before.objects)
    found: dict[Key, Object] = {}
    for uids in batches(touched.objects.values()):
        rows = database.rows(ObjectRow.select().where(ObjectRow.uid.in_(uids)))
        found.update((item.key, item) for item in map(object_from, rows))
    for key in touched.objects:
        if key in found:
            objects[key] = found[key]
        else:
            objects.pop(key, None)
    return objects


def _gone() -> Any:
    return PlacementRow.select(PlacementRow.node, PlacementRow.uid, PlacementRow.epoch).where(
        PlacementRow.stage == Stage.GONE
    )


def _ascending(rows: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """So that the highest epoch is the one a dict keeps."""
    return sorted(rows, key=lambda row: row[2])


def _gone_again(
    database: Database, before: Snapshot, touched: Touched
) -> dict[tuple[str, str], int]:
    gone = {key: epoch for key, epoch in before.gone.items() if key not in touched.gone}
    for uids in batches({uid for _, uid in touched.gone}):
        rows = database.rows(_gone().where(PlacementRow.uid.in_(uids)))
        gone.update({(node, uid): epoch for node, uid, epoch in _ascending(rows)})
    return gone


def _generations(database: Database, before: Snapshot, touched: Touched) -> dict[str, int]:
    generations = dict(before.generations)
    for nodes in batches(touched.nodes):
        generations.update(
            database.rows(GenerationRow.select().where(GenerationRow.node.in_(nodes)))
        )
    return generations


def batches(values: Iterable[str]) -> Iterator[list[str]]:
    """Sorted, and few enough for one statement."""
    ordered = sorted(values)
    for start in range(0, len(ordered), BATCH):
        yield ordered[start : start + BATCH]
