"""Machine: a container or a virtual machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from manifests.kinds.image import MachineType
from manifests.scalars import Cpus, Memory, Name, Port
from manifests.schema import spec_field

PLAIN_TEXT = "^[^\\x00-\\x08\\x0a-\\x1f\\x7f\\ud800-\\udfff\\ufffe\\uffff]*$"
ENV_NAME = "^[A-Za-z_][A-Za-z0-9_]{0,127}$"


class PowerState(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"


class RestartPolicy(StrEnum):
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class OnNodeFailure(StrEnum):
    RESCHEDULE = "reschedule"
    WAIT = "wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    policy: RestartPolicy = spec_field(
        "always | on-failure (not after a clean end) | never", default=RestartPolicy.ALWAYS
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    image: Name = spec_field("the Image to start from, by name")
    type: MachineType | None = spec_field("docker or libvirt; default: the image's", default=None)
    memory: Memory = spec_field("memory of the machine", default=Memory(256))
    cpus: Cpus = spec_field("processors; whole ones for libvirt", default=Cpus(1000))
    state: PowerState = spec_field("running or stopped", default=PowerState.RUNNING)
    node: Name | None = spec_field("run on this node only; default: scheduled", default=None)
    ports: tuple[Port, ...] = spec_field(
        "published ports, NODEPORT:MACHINEPORT[/udp]", default=(), maxItems=256, uniqueItems=True
    )
    env: Mapping[str, str] = spec_field(
        "environment (docker only)",
        factory=dict,
        maxProperties=256,
        propertyNames={"pattern": ENV_NAME},
        additionalProperties={"type": "string", "maxLength": 32768, "pattern": PLAIN_TEXT},
    )
    command: tuple[str, ...] = spec_field(
        "arguments instead of the image's command; its entry point stays (docker only)",
        default=(),
        maxItems=256,
        items={"type": "string", "maxLength": 32768, "pattern": PLAIN_TEXT},
    )
    restart: Restart = spec_field("what happens when the machine ends by itself", factory=Restart)
    on_node_failure: OnNodeFailure | None = spec_field(
        "reschedule | wait; default: wait where `node` is set, else reschedule. Not acted on yet:"
        " machines of a silent node wait for it",
        default=None,
    )
