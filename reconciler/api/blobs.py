"""The bytes of images, by sha256: users put them here, agents fetch them."""

from manifests.scalars import Sha256
from reconciler.api.deps import Deps
from reconciler.api.http import Answer, Request, bad_request, not_found

BYTES = "application/octet-stream"


def get_blob(deps: Deps, request: Request) -> Answer:
    """HEAD comes here too; then the file is only closed."""
    request.only()
    sha256 = _digest(request)
    try:
        file = deps.library.open(sha256)
    except FileNotFoundError:
        raise not_found("these bytes are not here") from None
    size = file.seek(0, 2)
    file.seek(0)
    return Answer(file=file, headers={"Content-Type": BYTES, "Content-Length": str(size)})


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
