"""The REST API as a WSGI application, and the server for it. The only importer of bottle (`app`).

Handlers are functions (Deps, Request) -> Answer. Not here: what a submission means (`submit`), how
objects are shown (`core.view`).
"""

from reconciler.api.app import make_app
from reconciler.api.deps import Deps
from reconciler.api.serve import Server

__all__ = ["Deps", "Server", "make_app"]
