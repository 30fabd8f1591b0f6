"""Node: a Linux host that runs an agent (`hyper`)."""

from dataclasses import dataclass
from enum import StrEnum

from manifests.scalars import Address, Cpus, Memory
from manifests.schema import spec_field


class PublisherKind(StrEnum):
    """What makes a VM's published ports reachable. PWNCAT serves one client at a time."""

    NFTABLES = "nftables"
    PWNCAT = "pwncat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    cpus: Cpus | None = spec_field(
        "processors to hand out; default: 16 for each real one, since a machine's cpus are a limit",
        default=None,
    )
    memory: Memory | None = spec_field(
        "memory to hand out; default: what the host has, less a reserve for the host itself",
        default=None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    address: Address = spec_field("where the agent listens, host:port")
    capacity: Capacity = spec_field("what machines may use of the host", factory=Capacity)
    publisher: PublisherKind = spec_field(
        "how ports of VMs are published: nftables, or the lab's pwncat (one client at a time)",
        default=PublisherKind.NFTABLES,
    )
