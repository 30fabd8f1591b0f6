"""Publishing ports of machines whose engine does not do it: one publisher per file.

Here: making a Publication true in the kernel. Not here: what shall be published.
"""

from typing import Protocol

from hyper.core.model import Publication


class PublishError(Exception):
    """The kernel refused; the message is a sentence for people."""


class Publisher(Protocol):
    def publish(self, wanted: Publication) -> None:
        """Make exactly `wanted` published, atomically, replacing what was; raises PublishError."""

    def close(self) -> None:
        """Remove every trace of the publisher from the host. Not called at an ordinary stop of the
        agent: published ports outlive it."""
