"""The publisher that the node's assignment names; the one before it gives up what it published."""

from collections.abc import Callable, Mapping

from hyper.core.model import Publication
from hyper.ports import Publisher
from manifests.kinds.node import PublisherKind
from manifests.scalars import Port


class Chosen:
    """`left` are those of which something may be left from an earlier run of the agent."""

    def __init__(
        self,
        publishers: Mapping[PublisherKind, Publisher],
        choose: Callable[[], PublisherKind],
        left: set[PublisherKind],
    ) -> None:
        self._publishers = publishers
        self._choose = choose
        self._left = left

    def publish(self, wanted: Publication) -> Mapping[Port, str]:
        kind = self._choose()
        for other in sorted(self._left - {kind}):
            self._publishers[other].close()
            self._left.discard(other)
        self._left.add(kind)
        return self._publishers[kind].publish(wanted)

    def close(self) -> None:
        for kind in sorted(self._left):
            self._publishers[kind].close()
            self._left.discard(kind)
