"""Publishing ports of machines whose engine does not do it: one publisher per file.

Here: making a Publication true in the kernel. Not here: what shall be published.
"""

from collections.abc import Mapping
from typing import Protocol

from hyper.core.model import Publication
from manifests.scalars import Port


class PublishError(Exception):
    """The kernel refused; the message is a sentence for people."""


class Publisher(Protocol):
    def publish(self, wanted: Publication) -> Mapping[Port, str]:
        """Make `wanted` published and nothing else, atomically, replacing what was.

        Ports on which the node itself listens are left out and returned, with the reason: a machine
        shall never take over a service of its node. Raises PublishError.
        """

    def close(self) -> None:
        """Remove every trace of the publisher from the host. Not called at an ordinary stop of the
        agent: published ports outlive it."""
