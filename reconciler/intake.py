"""From the Image manifests of a submission to bytes that are here and fit: what is missing is said.

Here: where bytes may come from when a manifest is handed in, and the check of their format. Not here:
the bytes themselves (`images`), nor anything about other kinds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from manifests.checks import SetFault
from manifests.imageformat import FormatError
from manifests.imageformat import check as check_format
from manifests.kinds import Manifest
from manifests.kinds.image import ImageSpec
from manifests.problem import Fault
from reconciler.core.model import Snapshot
from reconciler.images import Library, LocalFiles, Outside, Unreadable

FILE, DIGEST, FORMAT = ("spec", "file"), ("spec", "sha256"), ("spec", "format")


class Intake:
    """`sources`: the directories of this host that an Image's `file` may be in."""

    def __init__(self, library: Library, sources: Sequence[Path] = ()) -> None:
        self._library = library
        self._files = LocalFiles(library, sources)

    def take(
        self, manifests: Sequence[Manifest], also: Sequence[Path] = ()
    ) -> tuple[list[Manifest], list[SetFault]]:
        """The manifests with the digest of each `file` that is on this host, whose bytes are here
        then, and what is wrong with such files. Raises ImageError where the library fails."""
        taken, faults = [], []
        for index, manifest in enumerate(manifests):
            spec = manifest.spec
            if isinstance(spec, ImageSpec) and self._is_local(spec):
                found = self._taken(spec, also)
                if isinstance(found, Fault):
                    faults.append((index, found))
                else:
                    manifest = replace(manifest, spec=found)
            taken.append(manifest)
        return taken, faults

    def faults(self, snapshot: Snapshot, manifests: Sequence[Manifest]) -> list[SetFault]:
        """What keeps new and changed images from being used."""
        return [
            (index, fault)
            for index, manifest in enumerate(manifests)
            if isinstance(manifest.spec, ImageSpec) and not _is_known(snapshot, manifest)
            for fault in self._faults(manifest.spec)
        ]

    def _is_local(self, spec: ImageSpec) -> bool:
        """Whether it names a file for us to read: by an absolute path, and nothing else will do."""
        if spec.file is None or not spec.file.startswith("/"):
            return False
        return spec.sha256 is None or not self._library.has(spec.sha256)

    def _taken(self, spec: ImageSpec, also: Sequence[Path]) -> ImageSpec | Fault:
        assert spec.file is not None
        try:
            found = self._files.take(spec.file, also)
        except Outside:
            message = f"{spec.file} is in none of the directories that images are taken from"
            hint = "let iaasctl upload it, or start iaas-reconciler with --image-source DIRECTORY"
            return Fault(FILE, message, hint)
        except Unreadable as error:
            return Fault(FILE, str(error))
        if spec.sha256 not in (None, found):
            message = f"{spec.file} has another digest: {found}"
            return Fault(DIGEST, message, "correct it, or leave sha256 out: it is filled in")
        return replace(spec, sha256=found)

    def _faults(self, spec: ImageSpec) -> Iterator[Fault]:
        if spec.registry is not None:
            return  # the nodes' engines have them from there
        if spec.sha256 is None:
            yield Fault(DIGEST, "missing", "iaasctl fills it in from `file`, and uploads the bytes")
            return
        try:
            with self._library.open(spec.sha256) as file:
                check_format(spec.resolved_format, file, self._library.size(spec.sha256))
        except FileNotFoundError:
            if spec.url is not None:
                return  # they are fetched, and checked, when it is stored
            yield Fault(DIGEST, "the bytes are not here", "upload them, or let iaasctl do it")
        except FormatError as error:
            yield Fault(FORMAT, f"the file {error}", "declare the format it has")


def _is_known(snapshot: Snapshot, manifest: Manifest) -> bool:
    before = snapshot.objects.get(manifest.key)
    return before is not None and before.manifest == manifest
