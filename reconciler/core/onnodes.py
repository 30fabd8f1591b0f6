"""What the nodes have of an image, as their reports tell it."""

from typing import Any

from manifests.wire import ImagePhase, ImageReport, Phase, Report
from reconciler.core.model import NodeState, Placed, Seen, Snapshot

UNKNOWN = "unknown"


Found = tuple[str, Seen, ImageReport]
"""(node, what is known of it, what it has of the image)."""


def images_on_nodes(snapshot: Snapshot) -> dict[str, list[Found]]:
    """By digest, the nodes that have, fetch or cannot get it; those by name."""
    found: dict[str, list[Found]] = {}
    for name, seen in sorted(snapshot.seen.items()):
        if seen.report and snapshot.get("Node", name):
            for digest, report in {it.sha256: it for it in reversed(seen.report.images)}.items():
                found.setdefault(str(digest), []).append((name, seen, report))
    return found


def shown_on_node(name: str, seen: Seen, report: ImageReport) -> dict[str, Any]:
    """As the API shows it. Of a silent node it is unknown."""
    silent = seen.state is NodeState.UNAVAILABLE
    return {
        "node": name,
        "state": UNKNOWN if silent else str(report.phase),
        "done": report.done,
        "size": report.size,
        "reason": seen.error if silent else report.reason,
    }


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


def _report(report: Report, sha256: str) -> ImageReport | None:
    for image in report.images:
        if image.sha256 == sha256:
            return image
    return None
