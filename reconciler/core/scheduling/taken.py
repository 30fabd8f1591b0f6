"""Who has ports of a node besides the machines placed there: the node itself, and strangers.

Strangers are what its agent tells of: programs that listen, containers that are not its own. Such a
container may be a machine of ours all the same, of another node on the same host.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from manifests.scalars import Protocol
from manifests.wire import Foreign, Report
from reconciler.core.model import UNSEEN, NodeState, Object, Snapshot

PortKey = tuple[Protocol, int]

SSH: PortKey = (Protocol.TCP, 22)


@dataclass(frozen=True, slots=True)
class Holder:
    """`told` is for people. `machine` and `node`: of ours, where it is one."""

    told: str
    machine: str = ""
    node: str = ""


def reserved(node: Object) -> dict[PortKey, str]:
    """Ports that no machine may take from the node, whatever listens there at the moment."""
    agent = int(node.node.address.rpartition(":")[2])
    return {SSH: "the node's ssh", (Protocol.TCP, agent): "the node's agent"}


def strangers(snapshot: Snapshot, node: str) -> dict[PortKey, Holder]:
    """What is known of now: nothing of a node that has not reported, or does not answer."""
    seen = snapshot.seen.get(node, UNSEEN)
    if seen.state is not NodeState.READY or seen.report is None:
        return {}
    programs = {
        (it.protocol, it.port): Holder(f"program {it.process}" if it.process else "a program")
        for it in seen.report.listeners
    }
    return programs | _containers(snapshot, node, seen.report)


def _containers(snapshot: Snapshot, node: str, report: Report) -> dict[PortKey, Holder]:
    publishing = [it for it in report.foreign if it.ports]
    names = _instances(snapshot, node) if publishing else {}
    return {
        key: names.get(it.name) or Holder(f"container {it.name}")
        for it in publishing
        for key in _keys(it)
    }


def _instances(snapshot: Snapshot, node: str) -> Mapping[str, Holder]:
    """Machines that other nodes run, by the name that their engine has for them."""
    names = {item.uid: item.name for item in snapshot.of_kind("Machine")}
    return {
        it.instance: Holder(f"machine {names[it.uid]} on {other}", names[it.uid], other)
        for other, seen in snapshot.seen.items()
        if other != node and seen.report
        for it in seen.report.machines
        if it.instance and it.uid in names
    }


def _keys(it: Foreign) -> Iterator[PortKey]:
    for text in it.ports:
        number, _, protocol = text.partition("/")
        if protocol in set(Protocol) and number.isdecimal():
            yield Protocol(protocol), int(number)
