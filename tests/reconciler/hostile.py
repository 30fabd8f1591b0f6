"""What the tests of hostile requests share."""

import time
from typing import Any

from tests.reconciler.world import (
    World,
    raw,
)

SHAPE = {"error", "message", "field", "hint", "conflicts", "faults"}
APPLY = "/iaas/apply"
MIB = 1 << 20


class Unread:
    """A body that must not be touched."""

    def read(self, _size: int = -1) -> bytes:
        raise AssertionError("the body was read")

    readline = readlines = __iter__ = read


def refused(
    world: World, status: int, method: str, path: str, body: bytes = b"", **environ: Any
) -> dict[str, Any]:
    """The error of a request that must be refused, at once, and without a trace."""
    writes, start = world.store.writes, time.monotonic()
    found, data = raw(world.app, method, path, body, **environ)
    assert time.monotonic() - start < 3
    assert (found, world.store.writes) == (status, writes), data
    assert set(data) == SHAPE
    assert "Traceback" not in data["message"]
    return dict(data)
