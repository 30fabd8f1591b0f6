"""What no schema can say of manifests: rules between the fields of one, and between those of a set.

Here: pure functions, one per rule, in two tables. Not here: shapes and ranges (schema and codec),
and what needs the cluster's state (capacity, ports in use, images that are stored already).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from manifests.kinds import Manifest
from manifests.kinds.image import FORMATS, ImageFormat, ImageSpec, MachineType
from manifests.kinds.machine import MachineSpec
from manifests.problem import Fault, shown
from manifests.scalars import Memory, Name, Protocol

LEAST_MEMORY = {MachineType.DOCKER: Memory(8), MachineType.LIBVIRT: Memory(32)}
SetFault = tuple[int, Fault]


def check(manifest: Manifest) -> tuple[Fault, ...]:
    """What is wrong with one manifest by itself."""
    return spec_faults(manifest.spec)


def spec_faults(spec: object) -> tuple[Fault, ...]:
    if isinstance(spec, MachineSpec):
        return (*_ports_twice(spec), *unfit(spec, spec.type))
    if isinstance(spec, ImageSpec):
        return (*_wrong_format(spec), *_sources(spec))
    return ()


def check_set(manifests: Sequence[Manifest]) -> list[SetFault]:
    """What is wrong with manifests that are handed in together, by their index."""
    return [fault for rule in SET_RULES for fault in rule(manifests)]


def _ports_twice(spec: MachineSpec) -> Iterator[Fault]:
    seen: dict[tuple[int, Protocol], int] = {}
    for index, port in enumerate(spec.ports):
        first = seen.setdefault((port.node, port.protocol), index)
        if first != index:
            message = f"node port {port.node}/{port.protocol} is already used by ports[{first}]"
            yield Fault(("spec", "ports", index), message, "use another node port")


def unfit(spec: MachineSpec, type_: MachineType | None, why: str = "") -> Iterator[Fault]:
    """What a machine of this type cannot have; `why` says where the type comes from."""
    if type_ is None:
        return
    if spec.memory < LEAST_MEMORY[type_]:
        message = f"{spec.memory} is too little for a {type_} machine{why}"
        yield Fault(("spec", "memory"), message, f"at least {LEAST_MEMORY[type_]}")
    if type_ is not MachineType.LIBVIRT:
        return
    if spec.cpus % 1000:
        message = f"a libvirt machine has whole processors{why}"
        yield Fault(("spec", "cpus"), message, f"write {spec.cpus // 1000 + 1}")
    for name in ("env", "command"):
        if getattr(spec, name):
            message = f"docker only; this is a libvirt machine{why}"
            yield Fault(("spec", name), message, f"remove {name}")


def _wrong_format(spec: ImageSpec) -> Iterator[Fault]:
    if spec.format and spec.format not in FORMATS[spec.type]:
        fitting = " or ".join(FORMATS[spec.type])
        message = f"{spec.type} machines do not start from {spec.format}"
        yield Fault(("spec", "format"), message, f"write {fitting}")


def _sources(spec: ImageSpec) -> Iterator[Fault]:
    """One place to get the bytes from, and their digest where they come over the network."""
    named = [name for name in ("file", "url", "registry") if getattr(spec, name) is not None]
    for name in named[1:]:
        yield Fault(("spec", name), f"the bytes come from {named[0]} already", f"remove {name}")
    if spec.url is not None and spec.sha256 is None:
        yield Fault(("spec", "sha256"), "missing: url needs it", "sha256sum FILE prints it")
    if spec.registry is None:
        if spec.format is ImageFormat.REGISTRY:
            yield Fault(("spec", "registry"), "missing", "write NAME[:TAG]@sha256:DIGEST")
        return
    if spec.type is not MachineType.DOCKER:
        message = f"{spec.type} machines do not start from a registry's images"
        yield Fault(("spec", "registry"), message, "use file or url")
    if spec.sha256 is not None:
        yield Fault(("spec", "sha256"), "the reference has the digest already", "remove sha256")
    if spec.format not in (None, ImageFormat.REGISTRY):
        yield Fault(("spec", "format"), f"a registry has no {spec.format}", "remove format")


def _named_twice(manifests: Sequence[Manifest]) -> Iterator[SetFault]:
    seen: dict[tuple[str, str], int] = {}
    for index, manifest in enumerate(manifests):
        first = seen.setdefault(manifest.key, index)
        if first != index:
            message = f"{manifest.kind} '{manifest.name}' is declared twice"
            hint = "remove one, or give it another name"
            yield index, Fault(("metadata", "name"), message, hint, first=first)


def _port_taken(manifests: Sequence[Manifest]) -> Iterator[SetFault]:
    """Two machines pinned to one node with one node port: neither order of starting would do."""
    seen: dict[tuple[Name, int, Protocol], tuple[int, Name]] = {}
    for index, name, spec in _machines(manifests):
        for at, port in enumerate(spec.ports if spec.node else ()):
            key = (spec.node or name, port.node, port.protocol)
            first, other = seen.setdefault(key, (index, name))
            if other != name:
                message = (
                    f"node port {port.node}/{port.protocol} of node '{spec.node}' "
                    f"is already used by machine '{other}'"
                )
                hint = "use another node port or node"
                yield index, Fault(("spec", "ports", at), message, hint, first=first)


def _against_image(manifests: Sequence[Manifest]) -> Iterator[SetFault]:
    images = {
        manifest.name: (index, manifest.spec.type)
        for index, manifest in enumerate(manifests)
        if isinstance(manifest.spec, ImageSpec)
    }
    for index, _, spec in _machines(manifests):
        if spec.image not in images:
            continue
        at, type_ = images[spec.image]
        if spec.type is None:
            for fault in unfit(spec, type_, f" (by its image {shown(str(spec.image))})"):
                yield index, fault
        elif spec.type is not type_:
            message = f"a {spec.type} machine cannot start from image '{spec.image}' for {type_}"
            yield index, Fault(("spec", "image"), message, "use another image or type", first=at)


def _machines(manifests: Iterable[Manifest]) -> Iterator[tuple[int, Name, MachineSpec]]:
    for index, manifest in enumerate(manifests):
        if isinstance(manifest.spec, MachineSpec):
            yield index, manifest.name, manifest.spec


SET_RULES: tuple[Callable[[Sequence[Manifest]], Iterator[SetFault]], ...] = (
    _named_twice,
    _port_taken,
    _against_image,
)
