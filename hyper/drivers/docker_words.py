"""What we tell Docker of a machine, and what Docker tells us: pure translation, both ways.

Here: labels, names and settings of a container, and its state and Docker's complaints in our words.
Not here: any call.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hyper.core.model import Instance, Life
from hyper.drivers import DriverError, Refused
from manifests.kinds.image import MachineType
from manifests.scalars import Cpus, Memory, Name, Uid
from manifests.wire import Foreign, ImageRef, Placement

REPOSITORY, PULLED = "iaas-image", "iaas-pulled"
"""Our names for images; the second only for those that were pulled for us."""
CLUSTER, UID, EPOCH = "iaas.cluster", "iaas.uid", "iaas.epoch"
DIGEST, NAME = "iaas.digest", "iaas.name"

LIVES = {"running": Life.RUNNING, "paused": Life.PAUSED}
NEVER = "0001-01-01T00:00:00Z"
SIGNALS = {
    129: "SIGHUP",
    130: "SIGINT",
    134: "SIGABRT",
    139: "SIGSEGV",
    143: "SIGTERM",
}

SENTENCES: list[tuple[str, Callable[[re.Match[str]], DriverError]]] = [
    (
        r"Bind for \S*:([0-9]+) failed: port is already allocated",
        lambda found: DriverError(f"port {found[1]} on this node is in use by another container"),
    ),
    (
        r"listen \S+ \S*:([0-9]+): bind: address already in use",
        lambda found: DriverError(f"port {found[1]} on this node is in use by another program"),
    ),
    (
        r'exec: "([^"]*)": (?:stat|executable file not found|permission denied|is a directory)',
        lambda found: Refused(f"the image has no program {found[1]!r} that can be run"),
    ),
]


def tag(image: ImageRef) -> str:
    return f"{REPOSITORY}:{image.sha256}"


def pulled_tag(sha256: str) -> str:
    return f"{PULLED}:{sha256}"


def reference(image: ImageRef) -> str:
    """Of an image of a registry: its digest alone decides."""
    return f"{image.repository}@sha256:{image.sha256}"


def digests_of(details: Mapping[str, Any], sha256: str) -> list[str]:
    """The names by digest under which an image has this very one."""
    names = details.get("RepoDigests") or []
    return [name for name in names if name.endswith(f"@sha256:{sha256}")]


def tags_of_ours(images: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of any of these images that are there for us, in an order in which they can go: the
    mark that an image was pulled for us is the last."""
    found = []
    for image in images:
        names = sorted(image.get("RepoTags") or [])
        marks = [name for name in names if name.startswith(f"{PULLED}:")]
        found += [name for name in names if name.startswith(f"{REPOSITORY}:")]
        found += [it for mark in marks for it in digests_of(image, mark.partition(":")[2])]
        found += marks
    return found


def container_name(placement: Placement) -> str:
    return f"iaas-{placement.name}-{placement.uid[:8]}"


def is_id(handle: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", handle) is not None


def limits(placement: Placement) -> dict[str, int]:
    """Memory and swap together are the memory: a machine that needs more is killed, not slow."""
    size = placement.memory * 1024 * 1024
    return {"Memory": size, "MemorySwap": size, "NanoCpus": placement.cpus * 1_000_000}


def configuration(placement: Placement, cluster: str) -> dict[str, Any]:
    """The container. Every label of ours is set, so that none of an image's own can stand for it."""
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in placement.ports:
        inside = bindings.setdefault(f"{port.machine}/{port.protocol}", [])
        inside.append({"HostIp": "0.0.0.0", "HostPort": str(port.node)})
    config: dict[str, Any] = {
        "Image": tag(placement.image),
        "Hostname": placement.name,
        "Env": [f"{name}={value}" for name, value in placement.env.items()],
        "Labels": {
            CLUSTER: cluster,
            UID: placement.uid,
            EPOCH: str(placement.epoch),
            DIGEST: placement.digest,
            NAME: placement.name,
        },
        "ExposedPorts": {inside: {} for inside in bindings},
        "HostConfig": {
            **limits(placement),
            "PortBindings": bindings,
            "PidsLimit": 4096,
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        },
    }
    if placement.command:
        config["Cmd"] = list(placement.command)
    return config


def instance_of(details: Mapping[str, Any], cluster: str) -> Instance | None:
    """The instance that `docker inspect` shows, None if it is not one of this cluster's.

    An image can carry labels like ours, so the image must be one of ours too. `ip` stays empty: the
    engine publishes the ports.
    """
    labels = details["Config"].get("Labels") or {}
    if labels.get(CLUSTER) != cluster or not cluster:
        return None
    if not str(details["Config"].get("Image", "")).startswith(f"{REPOSITORY}:"):
        return None
    try:
        uid = Uid.from_json(labels.get(UID))
        Name.from_json(labels.get(NAME))
    except ValueError:
        return None
    epoch, digest = labels.get(EPOCH, ""), labels.get(DIGEST, "")
    if not re.fullmatch("[0-9]{1,18}", epoch) or not digest:
        return None
    state, host = details["State"], details["HostConfig"]
    life = LIVES.get(state["Status"], Life.STOPPED)
    ran = state["StartedAt"] != NEVER
    stopped = life is Life.STOPPED
    return Instance(
        uid=uid,
        epoch=int(epoch),
        type=MachineType.DOCKER,
        handle=details["Id"],
        name=details["Name"].lstrip("/"),
        life=life,
        digest=digest,
        memory=Memory(host["Memory"] // (1024 * 1024)),
        cpus=Cpus(host["NanoCpus"] // 1_000_000),
        ran=ran,
        clean=stopped and ran and state["ExitCode"] == 0 and not state["Error"],
        exit_code=state["ExitCode"] if stopped and ran else None,
        ended=ending(state) if stopped else "",
        image=details["Config"]["Image"].partition(":")[2],
    )


def stranger(summary: Mapping[str, Any]) -> Foreign:
    """A container of the list that is not ours. Its ports are those it has while it runs."""
    name = (summary.get("Names") or [summary["Id"][:12]])[0].lstrip("/")
    ports = {
        (port["PublicPort"], port["Type"])
        for port in summary.get("Ports") or ()
        # one of IPv6 alone is in nobody's way
        if port.get("PublicPort") and (":" not in port.get("IP", "") or port["IP"] == "::")
    }
    return Foreign(
        type=MachineType.DOCKER,
        name=name,
        ports=tuple(f"{number}/{protocol}" for number, protocol in sorted(ports)),
    )


def ending(state: Mapping[str, Any]) -> str:
    """How a stopped container ended: "exit code 137: killed (out of memory)"."""
    if state["Error"]:
        return str(sentence(state["Error"]))
    if state["StartedAt"] == NEVER:
        return ""
    code = state["ExitCode"]
    if state.get("OOMKilled"):
        return f"exit code {code}: killed (out of memory)"
    if code == 137:
        return "exit code 137: killed"
    return f"exit code {code}: {SIGNALS[code]}" if code in SIGNALS else f"exit code {code}"


PULLING: list[tuple[str, str]] = [
    (r"manifest unknown|not found|does not exist on|name unknown", "{host} has no {name}"),
    (
        r"unauthori[sz]ed|denied|no basic auth|authentication required|forbidden",
        "{host} does not let this node have {name}: does it exist, or is `docker login {host}`"
        " to be run on the node?",
    ),
    (
        r"HTTP response to HTTPS client",
        "{host} speaks plain HTTP, which docker refuses: list it as an insecure registry on the node",
    ),
    (
        r"connection refused|no such host|no route|unreachable|timeout|deadline|reset by peer|EOF"
        r"|server misbehaving|x509|certificate",
        "{host} cannot be reached from this node: {error}",
    ),
]
"""What docker says when it cannot pull, and what we say."""


def not_pulled(image: ImageRef, message: str) -> DriverError:
    head, slash, _ = image.repository.partition("/")
    named = slash and ("." in head or ":" in head or head == "localhost")
    plain = str(sentence(message))
    for pattern, said in PULLING:
        if re.search(pattern, message, re.IGNORECASE):
            values = {"host": head if named else "docker.io", "name": reference(image)}
            return DriverError("the registry " + said.format(**values, error=plain))
    return DriverError(f"docker cannot pull {reference(image)}: {plain}")


def sentence(message: str) -> DriverError:
    """Docker's message as a plain sentence, where we know it."""
    for pattern, told in SENTENCES:
        if found := re.search(pattern, message):
            return told(found)
    plain = " ".join(message.split())
    return DriverError(plain if len(plain) <= 300 else f"{plain[:300]}...")
