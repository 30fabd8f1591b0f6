"""The client library: one method for each thing the reconciler can be asked.

    from iaasctl import Client
    with Client.connect() as client:
        client.add_machine("nginx", ports=["8080:80"])
        for machine in client.machines(state="running"):
            print(machine["name"], machine["node"])

All methods raise `iaasctl.errors.Failure`. Here: manifests and image bytes. The rest is in
`iaasctl.lab` (the lab's operations) and `iaasctl.reading`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from iaasctl import answers, uploads
from iaasctl.answers import Outcome
from iaasctl.asking import CHANGE_SECONDS, PATIENCE, Asker
from iaasctl.errors import Unreachable
from iaasctl.lab import Lab
from iaasctl.reading import path_of
from iaasctl.settings import settings
from iaasctl.transport import HttpTransport, Request, Transport
from iaasctl.uploads import Bytes, Progress, quiet


class Client(Lab):
    """Asks one reconciler. `patience`: for how long a server that had answered may be away."""

    def __init__(self, transport: Transport, patience: float = PATIENCE) -> None:
        super().__init__(Asker(transport, patience))

    @classmethod
    def connect(
        cls, server: str | None = None, token_file: str | None = None, ca_file: str | None = None
    ) -> Self:
        """A client of the server and token in force; see `iaasctl.settings`."""
        return cls(HttpTransport(settings(server, token_file, ca_file)))

    def another(self) -> Self:
        """A client of the same server, for another thread."""
        return type(self)(self._asker.transport.another(), self._asker.patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._asker.transport.close()

    def apply(
        self,
        source: str,
        documents: Sequence[Any],
        *,
        prune: bool = True,
        approve: bool = False,
        dry_run: bool = False,
    ) -> Outcome:
        """Make `documents` the desired state of `source`, all or nothing; tells what changes."""
        body = {
            "source": source,
            "documents": documents,
            "prune": prune,
            "approve": approve,
        }
        return self._change("/iaas/apply", body, dry_run)

    def delete(
        self, keys: Iterable[tuple[str, str]], *, approve: bool = False, dry_run: bool = False
    ) -> Outcome:
        """Delete objects by (kind, name), all or nothing."""
        items = [{"kind": kind, "name": name} for kind, name in keys]
        return self._change("/iaas/delete", {"objects": items, "approve": approve}, dry_run)

    def approve(self, source: str, digest: str) -> None:
        """Let through what waits in a watched directory, if it is still the content of this digest."""
        request = Request(
            method="POST",
            path=f"{path_of('sources', source)}/approve",
            headers={"Content-Type": "application/json"},
            body=json.dumps({"digest": digest}).encode(),
            timeout=CHANGE_SECONDS,
        )
        answers.parsed(self._asker.once(request), answers.one)

    def blob_offset(self, sha256: str) -> int | None:
        """How many bytes of this image the server has; None when it has all of them."""
        return uploads.offset(self._asker, sha256)

    def put_blob(self, path: Path, found: Bytes, at: int, progress: Progress = quiet) -> None:
        """Upload image bytes from `at` on, see `blob_offset`; the server checks their digest."""
        uploads.send(self._asker, path, found, at, progress)

    def _change(self, path: str, body: Mapping[str, Any], dry_run: bool) -> Outcome:
        request = Request(
            method="POST",
            path=f"{path}?dryRun=true" if dry_run else path,
            headers={"Content-Type": "application/json"},
            body=json.dumps(body).encode(),
            timeout=CHANGE_SECONDS,
        )
        try:
            response = self._asker.once(request)
        except Unreachable as error:
            if error.maybe_done and not dry_run:
                error.fix = (
                    "nobody knows whether it was done: run the same command again, that is safe"
                )
            raise
        return answers.parsed(response, answers.outcome)
