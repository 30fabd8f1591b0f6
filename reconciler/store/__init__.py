"""What must survive: desired state, placements, claimed ports, events, the audit. The only importer
of peewee.

One SQLite file, one connection, one writer at a time. A write either is durable or raises; readers
take an immutable snapshot that is kept up to date by the writes themselves. Not here: observed
state (it lives in memory), and any decision.
"""

from reconciler.store.audit import Audited
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
from reconciler.store.keys import KeyUse
from reconciler.store.records import Record
from reconciler.store.store import Store

__all__ = [
    "Audited",
    "BadPlan",
    "Database",
    "Deposed",
    "KeyUse",
    "PortTaken",
    "Record",
    "Recorded",
    "Stale",
    "Store",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreLocked",
]
