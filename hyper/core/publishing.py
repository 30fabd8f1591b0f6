"""Which ports the publisher shall publish: those of running machines whose engine does not do it."""

from collections.abc import Iterable

from hyper.core.model import Instance, Life, Publication, Target
from manifests.kinds.machine import PowerState
from manifests.scalars import Port
from manifests.wire import Placement


def publication(placements: Iterable[Placement], there: dict[str, list[Instance]]) -> Publication:
    wanted: dict[Port, Target] = {}
    for placement in placements:
        for instance in there.get(placement.uid, []):
            wanted |= ports_of(placement, instance)
    return wanted


def ports_of(placement: Placement, instance: Instance) -> dict[Port, Target]:
    """Where the ports of a placement lead while this instance of it runs."""
    serves = instance.epoch == placement.epoch and instance.life is Life.RUNNING and instance.ip
    if not serves or placement.state is not PowerState.RUNNING:
        return {}
    return {port: Target(instance.ip, port.machine) for port in placement.ports}
