"""Which type and format an image file has: declared by whoever adds it, or by the ending of its name.

The bytes are checked against that, never probed for it.
"""

import os
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from iaasctl import uploads
from iaasctl.errors import Invalid
from manifests.imageformat import FormatError, check
from manifests.kinds.image import FORMATS, ImageFormat, MachineType

T = TypeVar("T", bound=StrEnum)
ENDINGS = {
    ".tar": ImageFormat.DOCKER_ARCHIVE,
    ".qcow2": ImageFormat.QCOW2,
    ".img": ImageFormat.QCOW2,  # what distributions call their cloud images
    ".raw": ImageFormat.RAW,
}
PACKED = {".gz", ".tgz", ".xz", ".zst", ".bz2", ".zip"}


class Declared(NamedTuple):
    type: MachineType
    format: ImageFormat


def declared(name: str, type_: str | None, format_: str | None) -> Declared:
    """The type and format of the file of this name; raises Invalid where nothing tells."""
    wanted_type = _one_of(MachineType, type_, "a type of machine")
    format_of_file = _one_of(ImageFormat, format_, "a format") or _by_ending(name)
    if format_of_file is None and wanted_type is MachineType.DOCKER:
        format_of_file = ImageFormat.DOCKER_ARCHIVE  # the only one for files
    if format_of_file is None:
        raise Invalid(f"which format has {name}?", _why(name), _fix(name))
    fitting = next(one for one, formats in FORMATS.items() if format_of_file in formats)
    if wanted_type not in (None, fitting):
        raise Invalid(
            f"machines of type {wanted_type} do not start from the format {format_of_file}",
            fix="--type docker takes docker-archive; --type libvirt takes qcow2 and raw",
        )
    return Declared(fitting, format_of_file)


def verify(path: Path, format_: ImageFormat) -> None:
    """Refuses (Invalid) a file that is not a safe image of this format."""
    try:
        with path.open("rb") as file:
            check(format_, file, os.fstat(file.fileno()).st_size)
    except FormatError as error:
        raise Invalid(
            f"{path} {error}", f"it was taken for the format {format_}", _others(format_)
        ) from None
    except (OSError, ValueError) as error:
        raise uploads.unreadable(path, error) from None


def _by_ending(name: str) -> ImageFormat | None:
    return ENDINGS.get(PurePosixPath(name).suffix.lower())


def _one_of(kind: type[T], text: str | None, what: str) -> T | None:
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(kind)
        raise Invalid(f"{text!r} is not {what}", fix=f"there are {known}") from None


def _why(name: str) -> str:
    ending = PurePosixPath(name).suffix
    return f"the ending {ending} tells nothing" if ending else "its name has no ending"


def _fix(name: str) -> str:
    if PurePosixPath(name).suffix.lower() in PACKED:
        return "it looks packed: unpack it first"
    return "say it: --format docker-archive, --format qcow2 or --format raw"


def _others(format_: ImageFormat) -> str:
    others = [one for one in ENDINGS.values() if one is not format_]
    return f"if it is another, say so: --format {' or '.join(dict.fromkeys(others))}"
