"""Image: the bytes a machine starts from. Always pinned by sha256, its format declared, never probed."""

from dataclasses import dataclass
from enum import StrEnum

from manifests.scalars import HttpsUrl, RegistryReference, Sha256
from manifests.schema import spec_field


class MachineType(StrEnum):
    DOCKER = "docker"
    LIBVIRT = "libvirt"


class ImageFormat(StrEnum):
    DOCKER_ARCHIVE = "docker-archive"
    QCOW2 = "qcow2"
    RAW = "raw"
    REGISTRY = "registry"


FORMATS: dict[MachineType, tuple[ImageFormat, ...]] = {
    MachineType.DOCKER: (ImageFormat.DOCKER_ARCHIVE, ImageFormat.REGISTRY),
    MachineType.LIBVIRT: (ImageFormat.QCOW2, ImageFormat.RAW),
}
"""The formats each type of machine starts from; the first is the default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    type: MachineType = spec_field("which machines start from it")
    format: ImageFormat | None = spec_field(
        "docker-archive (as `docker save` writes) or registry; qcow2 or raw; default: by type",
        default=None,
    )
    file: str | None = spec_field(
        "the file with the bytes, relative to the manifest; read by iaasctl, which uploads it",
        default=None,
        minLength=1,
        maxLength=1024,
        pattern="^[^\\x00-\\x1f\\x7f\\ud800-\\udfff\\ufffe\\uffff]+$",
    )
    url: HttpsUrl | None = spec_field(
        "where the controller fetches the bytes; needs sha256", default=None
    )
    registry: RegistryReference | None = spec_field(
        "where the nodes' Docker pulls it (docker only)", default=None
    )
    sha256: Sha256 | None = spec_field(
        "digest of the bytes; iaasctl fills it in from `file`, and checks it where given",
        default=None,
    )

    @property
    def resolved_format(self) -> ImageFormat:
        if self.registry is not None:
            return ImageFormat.REGISTRY
        return self.format or FORMATS[self.type][0]

    @property
    def digest(self) -> Sha256 | None:
        """What pins it: the sha256 of its bytes, or that of a registry's manifest."""
        return self.registry.digest if self.registry is not None else self.sha256
