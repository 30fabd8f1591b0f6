"""Watched directories: manifests in a directory, plain or a git work tree, as a source of their own.

Here: noticing that something may have changed, reading the whole set, and handing it in at the desk.
An event only means "look again". The only importer of watchdog (`bell`) and dulwich (`git`).
Not here: what a set does to the cluster (`submit`), and how its state is shown (`api`).
"""

from reconciler.watch.names import Unwatchable, named
from reconciler.watch.watching import Watching

__all__ = ["Unwatchable", "Watching", "named"]
