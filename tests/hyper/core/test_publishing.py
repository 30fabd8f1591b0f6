"""Which ports are published: those of running machines, to where this instance of them is."""

from dataclasses import replace

import pytest

from hyper.core.model import Instance, Life, Target
from hyper.core.publishing import publication
from manifests.kinds.machine import PowerState
from tests.hyper.making import LIBVIRT, instance, placement, port

VM = placement("vm", type=LIBVIRT, ports=(port("2222:22"), port("53:53/udp")))
UP = instance("vm", type=LIBVIRT, ip="10.0.0.2")


def test_the_ports_of_a_running_machine() -> None:
    assert publication([VM], {VM.uid: [UP]}) == {
        port("2222:22"): Target("10.0.0.2", 22),
        port("53:53/udp"): Target("10.0.0.2", 53),
    }


@pytest.mark.parametrize(
    "there",
    [
        [],
        [replace(UP, life=Life.STOPPED)],
        [replace(UP, life=Life.PAUSED)],
        [replace(UP, ip="")],
        [replace(UP, epoch=2)],
        [replace(UP, epoch=0)],
    ],
)
def test_nothing_of_what_does_not_run_or_is_another(there: list[Instance]) -> None:
    assert publication([VM], {VM.uid: there}) == {}


def test_nothing_of_a_machine_that_shall_stop() -> None:
    """Before it is stopped: nobody shall reach what is going down."""
    assert publication([replace(VM, state=PowerState.STOPPED)], {VM.uid: [UP]}) == {}


def test_of_two_instances_only_the_present_one_is_reached() -> None:
    old = replace(UP, epoch=0, ip="10.0.0.9")
    found = publication([VM], {VM.uid: [old, UP]})
    assert {target.ip for target in found.values()} == {"10.0.0.2"}


def test_the_ports_of_all_machines_together() -> None:
    other = placement("db", type=LIBVIRT, ports=(port("5432:5432"),))
    there = {VM.uid: [UP], other.uid: [instance("db", type=LIBVIRT, ip="10.0.0.3")]}
    assert len(publication([VM, other], there)) == 3


def test_what_is_in_no_assignment_publishes_nothing() -> None:
    assert publication([], {VM.uid: [UP]}) == {}
