"""Placements that their node confirmed gone."""

from reconciler.core.model import UNSEEN, Placed, Snapshot, Stage
from reconciler.core.passes.draft import Draft
from reconciler.core.plan import Release


def release(draft: Draft) -> None:
    """What its node confirmed gone frees its ports and capacity."""
    gone = [
        placed
        for placed in draft.held
        if placed.stage is Stage.LEAVING and confirmed_gone(draft.snapshot, placed)
    ]
    ended = {(placed.uid, placed.epoch) for placed in gone}
    draft.held = tuple(item for item in draft.held if (item.uid, item.epoch) not in ended)
    draft.operations += [
        Release(
            name=placed.wire.name,
            uid=placed.uid,
            epoch=placed.epoch,
            node=placed.node,
            reason=f"{placed.node} confirmed that it is gone",
        )
        for placed in sorted(gone, key=lambda item: (item.wire.name, item.epoch))
    ]


def confirmed_gone(snapshot: Snapshot, placed: Placed) -> bool:
    """Whether the node said, knowing of the order, that nothing of the placement is left."""
    report = snapshot.seen.get(placed.node, UNSEEN).report
    if report is None or report.generation < placed.generation:
        return False
    if not any(driver.type is placed.wire.type and driver.ok for driver in report.drivers):
        return False
    return not any(
        machine.uid == placed.uid and machine.epoch <= placed.epoch for machine in report.machines
    )
