"""What the nodes have of an image, as their reports tell it."""

from typing import Any

from manifests.wire import ImagePhase, ImageReport, Phase, Report
from reconciler.core.model import NodeState, Placed, Snapshot

UNKNOWN = "unknown"


def image_nodes(snapshot: Snapshot, sha256: str) -> list[dict[str, Any]]:
    """Each node that has, fetches or cannot get it; by name. Of a silent node it is unknown."""
    found = []
    for name, seen in sorted(snapshot.seen.items()):
        report = _report(seen.report, sha256)
        if report is None or snapshot.get("Node", name) is None:
            continue
        silent = seen.state is NodeState.UNAVAILABLE
        found.append(
            {
                "node": name,
                "state": UNKNOWN if silent else str(report.phase),
                "done": report.done,
                "size": report.size,
                "reason": seen.error if silent else report.reason,
            }
        )
    return found


def fetching(report: Report, placed: Placed, image: str) -> str:
    """What a machine waits for whose image, named so, is on its way; else ""."""
    waits = any(
        (it.uid, it.epoch, it.phase) == (placed.uid, placed.epoch, Phase.PREPARING)
        for it in report.machines
    )
    found = _report(report, placed.wire.image.sha256) if waits else None
    if found is None or found.phase is not ImagePhase.FETCHING:
        return ""
    percent = f": {100 * found.done // found.size} %" if found.size else ""
    return f"fetching image {image}{percent}"


def _report(report: Report | None, sha256: str) -> ImageReport | None:
    for image in report.images if report else ():
        if image.sha256 == sha256:
            return image
    return None
