"""The command line and the small client library: what people and scripts use.

Speaks to the reconciler by HTTP only; shares `manifests` with it and nothing else. Importing this
package is free: `from iaasctl import Client` loads the client, the commands load themselves.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iaasctl.client import Client as Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    if name == "Client":
        from iaasctl.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
