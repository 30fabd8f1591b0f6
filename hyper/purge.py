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


def purge(
    ledger: Ledger, drivers: Mapping[MachineType, Driver], publisher: Publisher, state: Path
) -> None:
    """Prints what it removes; ends with status 1 if something is left."""
    assignment = ledger.entry.assignment
    troubles = []
    if assignment is not None:
        for type_, driver in drivers.items():
            driver.bind(assignment.cluster)
            troubles += _purge_engine(type_, driver)
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


def _purge_engine(type_: MachineType, driver: Driver) -> list[str]:
    troubles = []
    view = driver.observe()
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
