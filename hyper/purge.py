"""Removes every trace of this agent from the host, whatever state it or its controller is in.

Only what carries the label of the ledger's cluster: without a ledger nothing is known for ours.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from hyper.drivers import Driver, DriverError
from hyper.ledger import Ledger
from hyper.ports import Publisher, PublishError
from manifests.kinds.image import MachineType
from manifests.wire import Assignment


def purge(
    ledger: Ledger,
    drivers: Mapping[MachineType, Driver],
    missing: Mapping[MachineType, str],
    publisher: Publisher,
    owner: str,
    state: Path,
) -> None:
    """Prints what it removes; ends with status 1 if something is left, and may be called again.

    `missing` tells why an engine cannot even be asked; `owner` is the label of what is ours.
    """
    assignment = ledger.entry.assignment
    troubles = []
    if assignment is not None:
        used = _used(assignment, state)
        troubles = [
            f"{type_}: {why}; what it runs was left"
            for type_, why in missing.items()
            if type_ in used
        ]
        for type_, driver in drivers.items():
            driver.bind(owner)
            troubles += _purge_engine(type_, driver, needed=type_ in used)
    if shutil.which("nft"):
        try:
            publisher.close()
        except PublishError as error:
            troubles.append(str(error))
    for trouble in troubles:
        print(f"hyper: {trouble}", file=sys.stderr)
    if troubles:
        sys.exit(1)
    for name in ("ledger.json", "ledger.tmp"):
        (state / name).unlink(missing_ok=True)
    for name in ("images", "disks"):
        shutil.rmtree(state / name, ignore_errors=True)


def _used(assignment: Assignment, state: Path) -> set[MachineType]:
    """Engines that may have something of ours."""
    used = {item.type for item in assignment.run} | {item.type for item in assignment.leaving}
    return used | ({MachineType.LIBVIRT} if any(state.glob("disks/*.qcow2")) else set())


def _purge_engine(type_: MachineType, driver: Driver, *, needed: bool) -> list[str]:
    troubles = []
    view = driver.observe()
    if view.error and not needed:
        return []
    if view.error:
        return [f"{type_}: {view.error}; what it runs was left as it is"]
    for instance in view.instances:
        try:
            driver.remove(instance.handle)
            print(f"removed {type_} {instance.name}")
        except DriverError as error:
            troubles.append(f"{type_} {instance.name}: {error}")
    try:
        driver.leave()
    except DriverError as error:
        troubles.append(f"{type_}: {error}")
    return troubles
