"""Placements that their node confirmed gone."""

from reconciler.core.model import UNSEEN, Placed, Snapshot, Stage
from reconciler.core.passes.draft import Draft
from reconciler.core.plan import Release


def release(draft: Draft) -> None:
    """What its node confirmed gone frees its ports and capacity."""
    for placed in sorted(draft.placed.values(), key=lambda item: item.wire.name):
        if placed.stage is Stage.LEAVING and confirmed_gone(draft.snapshot, placed):
            del draft.placed[placed.uid]
            draft.operations.append(
                Release(
                    name=placed.wire.name,
                    uid=placed.uid,
                    epoch=placed.epoch,
                    node=placed.node,
                    reason=f"{placed.node} confirmed that it is gone",
                )
            )


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
