"""The bytes of images, by sha256: users put them here, agents fetch them, and go on where they broke off."""

import re

from manifests.scalars import Sha256
from reconciler.api.deps import Deps
from reconciler.api.http import Answer, ApiError, Request, bad_request, not_found

BYTES = "application/octet-stream"


def get_blob(deps: Deps, request: Request) -> Answer:
    """HEAD comes here too; then the file is only closed."""
    request.only()
    sha256 = _digest(request)
    try:
        file = deps.library.open(sha256)
    except FileNotFoundError:
        raise not_found("these bytes are not here") from None
    size, tag = file.seek(0, 2), f'"{sha256}"'
    start = _start(request, tag)
    headers = {"Content-Type": BYTES, "Accept-Ranges": "bytes", "ETag": tag}
    if start is None:
        file.seek(0)
        return Answer(file=file, headers=headers | {"Content-Length": str(size)})
    if start >= size:
        file.close()
        raise _beyond(size)
    file.seek(start)
    headers |= {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
    return Answer(status=206, file=file, headers=headers | {"Content-Length": str(size - start)})


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
    request.only()
    sha256, length = _digest(request), request.length
    known = deps.library.touch(sha256)
    if not known:
        with deps.uploads.take():
            deps.library.put(sha256, request.stream, length)
    body = {"sha256": sha256, "size": deps.library.size(sha256)}
    return Answer(status=200 if known else 201, body=body)


def _digest(request: Request) -> Sha256:
    try:
        return Sha256.from_json(request.arguments["sha256"])
    except ValueError as error:
        raise bad_request(str(error), field="sha256") from None
