"""The lab's operations on nodes, images and machines, one method each, with its names.

Each goes to the lab's REST API, and what is made belongs to the source `api`. A change that got no
answer is sent again with the same key, which makes it once. All methods raise
`iaasctl.errors.Failure`.
"""

import json
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from iaasctl import answers, uploads
from iaasctl.answers import Object
from iaasctl.asking import CHANGE_SECONDS
from iaasctl.errors import Conflict, Invalid
from iaasctl.reading import Reading, path_of
from iaasctl.transport import Request, Response
from iaasctl.uploads import Progress, quiet
from manifests.scalars import Cpus, Memory, Port

SAFE = "run the same command again, that is safe"


class Lab(Reading):
    # -- nodes -----------------------------------------------------------------------------------

    def add_node(self, name: str, addr: str) -> Object:
        """Add the host whose agent listens at `addr`, HOST:PORT."""
        return self._create("nodes", {"name": name, "addr": addr})

    def remove_node(self, name: str) -> Object | None:
        """Remove a node that no machine uses. It as it goes, or None when it is gone."""
        return self._remove("nodes", name)

    def nodes(self, **filters: str) -> list[Object]:
        """All nodes, or those with these values of fields: `nodes(state="ready")`."""
        return self.objects("nodes", filters)

    # -- images ----------------------------------------------------------------------------------

    def add_image(
        self,
        name: str,
        file: str | Path | None = None,
        type: str | None = None,
        format: str | None = None,
        *,
        url: str | None = None,
        sha256: str | None = None,
        registry: str | None = None,
        progress: Progress = quiet,
    ) -> Object:
        """Add an image from a file, which is uploaded; or from a `url` (with the `sha256` of its
        bytes) or a `registry` reference, which the server fetches.

        `type`: docker | libvirt. `format`: docker-archive | qcow2 | raw; default: by the ending.
        """
        if [file, url, registry].count(None) != 2:
            raise Invalid(
                "add which image?", fix="give one of: a file, a url, a registry reference"
            )
        if (url is None) != (sha256 is None):
            raise Invalid("a url and the sha256 of its bytes belong together", fix="give both")
        if registry is not None:
            if type not in (None, "docker") or format not in (None, "registry"):
                raise Invalid("an image of a registry is of type docker and format registry")
            return self._create("images", {"name": name, "type": "docker", "registry": registry})
        self._check_new("images", name)
        if file is not None:
            return self._add_file(name, Path(file), type, format, progress)
        from iaasctl.formats import declared

        found = declared(urlsplit(str(url)).path, type, format)
        body = {"name": name, "type": found.type, "format": found.format}
        return self._create("images", body | {"url": url, "sha256": sha256})

    def _add_file(
        self, name: str, path: Path, type_: str | None, format_: str | None, progress: Progress
    ) -> Object:
        from iaasctl.formats import declared, verify  # imports tarfile

        found = declared(path.name, type_, format_)
        verify(path, found.format)
        content = uploads.hashed(path, progress)
        at = uploads.offset(self._asker, content.sha256)
        uploads.send(self._asker, path, content, at, progress)
        body = {"name": name, "type": found.type, "format": found.format, "sha256": content.sha256}
        return self._create("images", body)

    def remove_image(self, name: str) -> Object | None:
        """Remove an image that no machine uses. It as it goes, or None when it is gone."""
        return self._remove("images", name)

    def images(self, **filters: str) -> list[Object]:
        return self.objects("images", filters)

    # -- machines --------------------------------------------------------------------------------

    def add_machine(
        self,
        image: str,
        *,
        name: str | None = None,
        type: str | None = None,
        mem: int | str | None = None,
        cpus: float | str | None = None,
        node: str | None = None,
        ports: Iterable[str] = (),
    ) -> Object:
        """Add a machine that starts from this image, and tell it, with its `id`.

        `type`: docker | libvirt; default: the image's. `mem`: in MiB, or `256Mi`, `2Gi`. `ports`:
        NODEPORT:MACHINEPORT[/udp]. Without `node` one is chosen where the ports are free.
        """
        body = {
            "image": image,
            "name": name,
            "type": type,
            "mem": None if mem is None else _mebibytes(mem),
            "cpus": None if cpus is None else _cpus(cpus),
            "node": node,
            "ports": [_port(port) for port in ports] or None,
        }
        return self._create("machines", {key: it for key, it in body.items() if it is not None})

    def start_machine(self, id: str) -> Object:
        """Have it run; the machine as it is then."""
        return self._set_state(id, "running")

    def stop_machine(self, id: str) -> Object:
        """Have it stopped; its disk, its ports and its node stay its own."""
        return self._set_state(id, "stopped")

    def remove_machine(self, id: str) -> Object | None:
        """Stop it and remove it with its disk. It as it goes, or None when it is gone."""
        return self._remove("machines", id)

    def machines(self, **filters: str) -> list[Object]:
        return self.objects("machines", filters)

    # -- requests --------------------------------------------------------------------------------

    def _create(self, plural: str, body: dict[str, Any]) -> Object:
        key = {"Idempotency-Key": str(uuid.uuid4())}
        look = f"`iaasctl get {plural}` shows it"
        return answers.parsed(self._send("POST", f"/iaas/{plural}", look, body, key), answers.one)

    def _check_new(self, plural: str, name: str) -> None:
        """Refuses a name in use before bytes are uploaded; the server refuses it in any case."""
        if self.objects(plural, {"name": name}):
            raise Conflict(
                f"there is an {plural[:-1]} {name!r} already",
                fix="take another name, or remove that one first",
            )

    def _set_state(self, machine: str, state: str) -> Object:
        response = self._send("PUT", path_of("machines", machine), SAFE, {"state": state})
        return answers.parsed(response, answers.one)

    def _remove(self, plural: str, name: str) -> Object | None:
        response = self._send("DELETE", path_of(plural, name), SAFE)
        return None if response.status == 204 else answers.parsed(response, answers.one)

    def _send(
        self,
        method: str,
        path: str,
        fix: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        request = Request(
            method=method,
            path=path,
            headers={"Content-Type": "application/json", **(headers or {})} if body else {},
            body=json.dumps(body).encode() if body else None,
            timeout=CHANGE_SECONDS,
        )
        return self._asker.again(request, fix)


def _mebibytes(value: int | str) -> int:
    text = str(value)
    try:
        return int(Memory.from_json(f"{text}Mi" if text.isdecimal() else text))
    except ValueError:
        raise Invalid(
            f"{text!r} is not an amount of memory", fix="write 256 (MiB), 256Mi or 2Gi"
        ) from None


def _cpus(value: float | str) -> int | float:
    try:
        number = value if not isinstance(value, str) or value.endswith("m") else float(value)
        return Cpus.from_json(number).to_json()
    except ValueError:
        raise Invalid(
            f"{value!r} is not a number of processors", fix="write 2, 0.5 or 500m"
        ) from None


def _port(text: str) -> str:
    try:
        Port.from_json(text)
    except ValueError as error:
        raise Invalid(str(error), fix="NODEPORT:VMPORT, such as 8080:80") from None
    return text
