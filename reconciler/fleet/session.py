"""One node's conversation without its socket: what to say next, and what an answer means.

Answers are taken only for the latest question, so a late one changes nothing. Silence is not an
answer: a node is UNAVAILABLE only after it was silent for a whole lease.
"""

from collections.abc import Callable

from manifests.scalars import Name
from manifests.wire import Assignment, Exchange, Report
from reconciler.cluster import Cluster
from reconciler.core.model import UNSEEN, NodeState, Seen, Snapshot
from reconciler.core.wiring import assignment_for

LEASE = 10.0
"""Seconds a node may be silent before it counts as unavailable."""
POLL = 5.0
"""Seconds an agent holds a question when it has no news; well within the lease."""


class Session:
    def __init__(
        self, node: Name, cluster: Cluster, base: Assignment, clock: Callable[[], float]
    ) -> None:
        """`base` has what is the same for every node; `clock` is monotonic."""
        self.node = node
        self._cluster = cluster
        self._base = base
        self._clock = clock
        self._heard = clock()
        self._question = 0
        self._report: Report | None = None

    def behind(self, snapshot: Snapshot) -> bool:
        """Whether the node must still be told of its newest assignment."""
        generation, item = snapshot.generations.get(self.node, 0), snapshot.get("Node", self.node)
        if self._report is None or self._report.generation < generation:
            return True
        return item is not None and item.node.publisher is not self._report.publisher

    def ask(self) -> tuple[int, Exchange]:
        """The next question, and its number."""
        snapshot = self._cluster.snapshot()
        behind = self.behind(snapshot)
        report = self._report
        self._question += 1
        return self._question, Exchange(
            cluster=self._base.cluster,
            term=self._base.term,
            node=self.node,
            assignment=assignment_for(snapshot, self.node, self._base) if behind else None,
            boot=report.boot if report else "",
            revision=report.revision if report else 0,
            wait=POLL,
        )

    def answer(self, question: int, report: Report) -> None:
        """Take a report; one that answers an older question is ignored."""
        if question != self._question:
            return
        if report.node != self.node:
            # It has not taken up our word yet, or another's since; its report says nothing of ours.
            self._report = None
            self.silent(f"the agent there is node {report.node} still")
            return
        if report.generation > self._cluster.snapshot().generations.get(self.node, 0):
            # Its word cannot be judged: it may be answering an order that we no longer know of.
            self._report = None
            self.silent(
                "the agent knows a later assignment than this store: was a backup restored?"
            )
            return
        self._heard = self._clock()
        self._report = report
        self._cluster.see(self.node, Seen(NodeState.READY, report))

    def silent(self, error: str) -> None:
        """No answer, or a refusal: what is known stays known, until the lease is over."""
        if self._clock() - self._heard >= LEASE:
            old = self._cluster.seen.get(self.node, UNSEEN)
            self._cluster.see(self.node, Seen(NodeState.UNAVAILABLE, old.report, error))
        elif self._report is None:
            self._cluster.see(self.node, Seen(NodeState.JOINING, None, error))
