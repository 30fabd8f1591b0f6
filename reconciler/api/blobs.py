"""The bytes of images, by sha256: users put them here, agents fetch them, and both go on where they
broke off: a download by its `Range`, an upload by `Upload-Offset`.

That header of a 404 tells how many bytes are kept, and with it a PUT brings the rest; `Upload-Length`
is the length of the whole where a PUT does not bring all that is missing.
"""

import re
from contextlib import ExitStack
from typing import BinaryIO

from manifests.scalars import Sha256
from reconciler.api.deps import Deps, Slots
from reconciler.api.http import Answer, ApiError, Request, bad_request
from reconciler.api.route import BYTES
from reconciler.core.audit import entry_of
from reconciler.images import Incomplete, WrongOffset

OFFSET, LENGTH = "Upload-Offset", "Upload-Length"


def get_blob(deps: Deps, request: Request) -> Answer:
    """HEAD comes here too; then the file is only closed."""
    request.only()
    sha256 = _digest(request)
    try:
        file = deps.library.open(sha256)
    except FileNotFoundError:
        kept = {OFFSET: str(deps.library.kept(sha256))}
        raise ApiError(404, "not_found", "these bytes are not here", headers=kept) from None
    size, tag = file.seek(0, 2), f'"{sha256}"'
    start = _start(request, tag)
    headers = {"Content-Type": BYTES, "Accept-Ranges": "bytes", "ETag": tag}
    if start is not None and start >= size:
        file.close()
        raise _beyond(size)
    file.seek(start or 0)
    headers |= {"Content-Length": str(size - (start or 0))}
    if start is not None:
        headers |= {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
    status = 200 if start is None else 206
    return Answer(status=status, file=Download(file, deps.downloads), headers=headers)


class Download:
    """A file on its way to a client, who may take long: its place is free again once it is closed."""

    def __init__(self, file: BinaryIO, places: Slots) -> None:
        self._file = file
        self._kept = ExitStack()
        self._kept.callback(file.close)
        try:
            self._kept.enter_context(places.take())
        except ApiError:
            self.close()
            raise

    def read(self, size: int, /) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self._kept.close()


def _start(request: Request, tag: str) -> int | None:
    """Where to begin, None: all is to be sent. Other kinds of ranges may be ignored (RFC 9110)."""
    found = re.fullmatch("bytes=([0-9]{1,18})-", request.header("range"))
    condition = request.header("if-range")
    if request.method != "GET" or not found or condition not in ("", tag):
        return None
    return int(found[1])


def _beyond(size: int) -> ApiError:
    message = f"there are only {size} bytes"
    headers = {"Content-Range": f"bytes */{size}"}
    return ApiError(416, "range_not_satisfiable", message, field="Range", headers=headers)


def put_blob(deps: Deps, request: Request) -> Answer:
    """201 when the file is complete, 202 when more of it must come."""
    request.only()
    sha256, length, offset = _digest(request), request.length, _number(request, OFFSET)
    end = (offset or 0) + length
    total = _number(request, LENGTH) or end
    if total < end:
        raise bad_request(f"it would get {end} bytes instead of {total}", field=LENGTH)
    if deps.library.touch(sha256):
        return Answer(body={"sha256": sha256, "size": deps.library.size(sha256)})
    with deps.uploads.take():
        kept = _receive(deps, request, sha256, length, offset, total)
    body = {"sha256": sha256, "size": kept}
    if kept < total:
        return Answer(status=202, body=body, headers={OFFSET: str(kept)})
    uploaded = entry_of(
        request.by(201),
        "upload",
        deps.clock(),
        objects=[f"blob/{sha256}"],
        message=f"{total} bytes",
    )
    deps.cluster.store.record([uploaded])
    deps.cluster.signal.bump()  # an image may have been waiting for them
    return Answer(status=201, body=body)


def _receive(
    deps: Deps, request: Request, sha256: Sha256, length: int, offset: int | None, total: int
) -> int:
    library, stream = deps.library, request.stream
    try:
        return library.receive(sha256, stream, length, offset=offset, total=total)
    except (WrongOffset, Incomplete) as error:
        wrong = isinstance(error, WrongOffset)
        raise ApiError(
            409 if wrong else 400,
            "wrong_offset" if wrong else "incomplete",
            str(error),
            field=OFFSET if wrong else "",
            hint=f"send the rest with {OFFSET}: {error.kept}",
            headers={OFFSET: str(error.kept)},
        ) from None


def _digest(request: Request) -> Sha256:
    try:
        return Sha256.from_json(request.arguments["sha256"])
    except ValueError as error:
        raise bad_request(str(error), field="sha256") from None


def _number(request: Request, name: str) -> int | None:
    if not (text := request.header(name.lower())):
        return None
    if not re.fullmatch("[0-9]{1,18}", text):
        raise bad_request(f"{name} is not a number", field=name)
    return int(text)
