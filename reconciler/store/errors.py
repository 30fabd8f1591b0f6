"""Why nothing was stored. After any of these the write did not happen.

StoreError
├── Stale         the store has moved on: take a new snapshot and decide again
├── Deposed       another controller has taken over: stop
├── PortTaken     a port has another owner
├── Duplicate     a row is there already
├── BadPlan       the plan does not fit the store: a defect of the planner
├── StoreLocked   another process has the file
├── StoreFull     the disk is full; heals by itself once there is room
└── StoreFailed   an I/O error or a damaged file: nothing more is written, restart the process.
                  The one case where a write may yet turn out to be there after the restart.
"""

from manifests.scalars import Name, Protocol, Uid


class StoreError(Exception):
    """A sentence for people."""


class Stale(StoreError):
    """The write was made for another revision."""


class Deposed(StoreError):
    """The write was made in another term."""


class PortTaken(StoreError):
    def __init__(self, node: Name, protocol: Protocol, port: int, owner: Uid, name: str) -> None:
        super().__init__(f"port {port}/{protocol} on {node} belongs to machine {name!r}")
        self.node = node
        self.protocol = protocol
        self.port = port
        self.owner = owner


class Duplicate(StoreError):
    """Seen by the store alone, which knows what it means."""


class BadPlan(StoreError):
    """An operation names something that is not there."""


class StoreLocked(StoreError):
    """The file is in use."""


class StoreFull(StoreError):
    """No room."""


class StoreFailed(StoreError):
    """The disk or the file cannot be trusted."""
