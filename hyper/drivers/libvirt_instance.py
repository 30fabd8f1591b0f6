"""What libvirt says of a domain, as an Instance: tables from its states and reasons to ours.

Here: meaning. Not here: calls.
"""

import re

import libvirt

from hyper.core.model import Instance, Life
from hyper.drivers.domain_xml import Domain, Label
from manifests.kinds.image import MachineType

LIVES = {
    libvirt.VIR_DOMAIN_SHUTOFF: Life.STOPPED,
    libvirt.VIR_DOMAIN_CRASHED: Life.STOPPED,
    libvirt.VIR_DOMAIN_PAUSED: Life.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: Life.PAUSED,
}
STARTING = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP)
ENDED = {
    libvirt.VIR_DOMAIN_SHUTOFF_UNKNOWN: "stopped while libvirtd or the host restarted",
    libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: "the guest shut down",
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: "destroyed from outside",
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: "it crashed, or its qemu process died",
    libvirt.VIR_DOMAIN_SHUTOFF_SAVED: "saved to a file from outside",
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: "it failed to start",
    libvirt.VIR_DOMAIN_SHUTOFF_DAEMON: "libvirtd stopped it",
}
PAUSED = {
    libvirt.VIR_DOMAIN_PAUSED_USER: "paused from outside",
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: "paused by a disk error: the node's disk may be full",
    libvirt.VIR_DOMAIN_PAUSED_CRASHED: "paused because the guest crashed",
}
NEVER_RAN = (libvirt.VIR_DOMAIN_SHUTOFF_UNKNOWN, libvirt.VIR_DOMAIN_SHUTOFF_FAILED)
"""Reasons that say nothing of an earlier run; libvirt gives the first after it was restarted too."""

State = tuple[int, int]
"""libvirt's state of a domain and the reason for it."""


def life(state: State) -> Life:
    return Life.RUNNING if state == STARTING else LIVES.get(state[0], Life.RUNNING)


def instance_of(facts: Domain, label: Label, state: State) -> Instance:
    now, reason = life(state), state[1]
    stopped = now is Life.STOPPED
    ran = not stopped or label.ran or reason not in NEVER_RAN
    return Instance(
        uid=label.uid,
        epoch=label.epoch,
        type=MachineType.LIBVIRT,
        handle=facts.uuid,
        name=facts.name,
        life=now,
        digest=label.digest,
        memory=facts.memory,
        cpus=facts.cpus,
        ran=ran,
        clean=stopped and not label.halted and reason == libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN,
        ended=_ended(now, reason, label) if ran else "",
        ip=label.ip,
        image=_digest(facts.base),
    )


def _digest(base: str) -> str:
    """A base that lies in the agent's cache has its digest for a name."""
    name = base.rpartition("/")[2]
    return name if re.fullmatch("[0-9a-f]{64}", name) else ""


def _ended(now: Life, reason: int, label: Label) -> str:
    if now is Life.RUNNING:
        return ""
    if now is Life.PAUSED:
        return PAUSED.get(reason, "paused")
    return "stopped by the agent" if label.halted else ENDED.get(reason, "stopped")
