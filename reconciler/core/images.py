"""What is true of an image's bytes on the controller: here, on their way, or not to be had.

Whether they are here is told by the store alone (an image by URL has no size before), so that a
machine is never placed for bytes that are not; `Fetch` adds the words, and what was found amiss.
"""

from dataclasses import dataclass
from enum import StrEnum

from reconciler.core.model import Fetch, FetchState, Object, Snapshot


class ImageState(StrEnum):
    READY = "ready"
    FETCHING = "fetching"
    FAILED = "failed"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class ImageStatus:
    state: ImageState
    reason: str = ""


STATES = {FetchState.FETCHING: ImageState.FETCHING, FetchState.FAILED: ImageState.FAILED}
UNKNOWN = Fetch(FetchState.FETCHING)


def image_status(snapshot: Snapshot, image: Object) -> ImageStatus:
    if image.deleting:
        return ImageStatus(ImageState.DELETING, snapshot.waits.get(image.key, ""))
    fetch = _fetch(snapshot, image)
    if fetch is None:
        return ImageStatus(ImageState.READY, snapshot.waits.get(image.key, ""))
    return ImageStatus(STATES[fetch.state], fetch.reason)


def not_here(snapshot: Snapshot, image: Object) -> str:
    """Why no machine can start from it yet, as a sentence; "" if nothing is in the way."""
    fetch = _fetch(snapshot, image)
    if fetch is None:
        return ""
    if fetch.state is FetchState.FAILED:
        return f"image {image.name} cannot be fetched: {fetch.reason}"
    return f"image {image.name} is being fetched" + (f" ({fetch.reason})" if fetch.reason else "")


def _fetch(snapshot: Snapshot, image: Object) -> Fetch | None:
    """None where the bytes are here, or are the nodes' business."""
    if found := snapshot.fetches.get(image.uid):
        return found
    return UNKNOWN if image.image.url is not None and not image.size else None
