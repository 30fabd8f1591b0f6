"""Which of the nodes that will do: the one with the smallest score, ties by name."""

from collections.abc import Callable

from reconciler.core.scheduling.room import Room

Policy = Callable[[Room], float]


def least_machines(room: Room) -> float:
    """The lab's rule: the node with the fewest machines."""
    return room.machines


POLICIES: dict[str, Policy] = {"least machines": least_machines}
DEFAULT = "least machines"
