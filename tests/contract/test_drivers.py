"""Runs the driver contract for every driver. A new driver is one line in DRIVERS and one rig."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.contract.driver_contract")

from tests.contract.driver_contract import DriverContract, Rig  # noqa: E402

DRIVERS: dict[str, tuple[str, list[pytest.MarkDecorator]]] = {
    "simulated-docker": ("tests.contract.rig_simulated:DockerLike", []),
    "simulated-libvirt": ("tests.contract.rig_simulated:LibvirtLike", []),
    "docker": ("tests.contract.rig_docker:DockerRig", [pytest.mark.docker]),
    "libvirt": ("tests.contract.rig_libvirt:LibvirtRig", [pytest.mark.libvirt]),
}
"""Driver -> its rig, imported only when it runs, and the marks of its tests."""


@pytest.fixture(
    scope="session",
    params=[pytest.param(name, marks=marks) for name, (_, marks) in DRIVERS.items()],
)
def one_rig(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    module, _, name = DRIVERS[request.param][0].partition(":")
    factory = getattr(importlib.import_module(module), name)
    rig: Rig = factory(tmp_path_factory.mktemp(request.param))
    yield rig
    rig.close()


@pytest.fixture
def rig(one_rig: Rig) -> Iterator[Rig]:
    yield one_rig
    one_rig.clean()


class TestDrivers(DriverContract):
    pass
