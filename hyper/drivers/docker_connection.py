"""Connections to dockerd, and its errors as ours.

Here: what a failed call means. Not here: the calls.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
import urllib3
from docker import APIClient, auth
from docker.errors import APIError, DockerException, StreamParseError
from docker.types import CancellableStream

from hyper.drivers import DriverError, EngineDown, Refused
from hyper.drivers.docker_words import sentence


class Gone(DriverError):
    """404"""


class Conflict(DriverError):
    """409"""


class _Wrong(Refused):
    """400"""


BY_STATUS: dict[int, type[DriverError]] = {
    400: _Wrong,
    404: Gone,
    409: Conflict,
    503: EngineDown,
}


def told(error: APIError) -> DriverError:
    """A refusal of the engine as our error."""
    known = sentence(str(error.explanation or error))
    status = error.response.status_code if error.response is not None else 0
    if type(known) is DriverError and status in BY_STATUS:
        return BY_STATUS[status](str(known))
    return known


@contextmanager
def plainly() -> Iterator[None]:
    try:
        yield
    except DriverError:
        raise
    except APIError as error:
        raise told(error) from None
    except (DockerException, StreamParseError, OSError, urllib3.exceptions.HTTPError) as error:
        if _took_too_long(error):  # this call: the engine may be well and at work on it
            raise DriverError("docker took too long to answer") from None
        raise EngineDown(f"docker does not answer: {_reason(error)}") from None


def _took_too_long(error: BaseException) -> bool:
    """Whatever the layer that noticed: requests wraps urllib3's error in its own while it reads."""
    late = (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError)
    return isinstance(error, late) or any(isinstance(cause, late) for cause in error.args)


def _reason(error: BaseException) -> str:
    """The innermost cause that the operating system names; the layers above it say nothing."""
    found = re.findall(r"(?:Error|Refused|Timeout)\w*\([0-9]+, '([^']*)'\)", str(error))
    return found[-1] if found else (" ".join(str(error).split())[:200] or type(error).__name__)


def connect(base_url: str, timeout: int) -> APIClient:
    """A client that speaks the engine's version; raises DockerException."""
    client = APIClient(base_url=base_url, version="auto", timeout=timeout, max_pool_size=16)
    client.trust_env = False  # no proxies and no .netrc on a local socket, nor looking for them
    return client


def pulling(client: Any, repository: str, tag: str) -> Any:
    """A pull under way: what docker says of it line by line, with a `close` that ends it at once,
    which the SDK's own has not. With the node's own credentials, from `docker login`."""
    registry, _ = auth.resolve_repository_name(repository)
    credentials = auth.get_config_header(client, registry)
    response = client._post(
        client._url("/images/create"),
        params={"fromImage": repository, "tag": tag},
        headers={"X-Registry-Auth": credentials} if credentials else {},
        stream=True,
    )
    client._raise_for_status(response)
    return CancellableStream(client._stream_helper(response, decode=True), response)
