"""What must survive: desired state, placements, claimed ports, events. The only importer of peewee.

One SQLite file, one connection, one writer at a time. A write either is durable or raises; readers
take an immutable snapshot that is kept up to date by the writes themselves. Not here: observed
state (it lives in memory), and any decision.
"""

from reconciler.store.database import Database
from reconciler.store.errors import (
    BadPlan,
    Deposed,
    PortTaken,
    Stale,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreLocked,
)
from reconciler.store.events import Recorded
from reconciler.store.store import Store

__all__ = [
    "BadPlan",
    "Database",
    "Deposed",
    "PortTaken",
    "Recorded",
    "Stale",
    "Store",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreLocked",
]
