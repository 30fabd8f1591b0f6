"""The only part that talks to agents: one conversation per node, each with its own timeouts.

Here: bringing assignments, taking reports, telling how a node is. Not here: deciding anything about
machines.
"""

from reconciler.fleet.fleet import Fleet
from reconciler.fleet.session import Session

__all__ = ["Fleet", "Session"]
