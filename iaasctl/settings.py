"""Where the reconciler is and how we show who we are: flag, then environment, then default."""

import os
import stat
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from iaasctl.errors import Invalid, Unauthorised

DEFAULT_SERVER = "http://127.0.0.1:7700"
DEFAULT_TOKEN_FILE = "/var/lib/iaas/reconciler/token"  # noqa: S105 - a path
TOKEN_LIMIT = 4096


class Endpoint(NamedTuple):
    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return self.host in ("localhost", "::1") or (
            self.host.startswith("127.") and self.host.replace(".", "").isdigit()
        )


class Settings(NamedTuple):
    """`token` is empty where there is none: the server then says what it thinks of that.

    `ca_file` holds the certificates of the only authorities to trust; empty: those of this host.
    """

    endpoint: Endpoint
    token: str
    token_file: str
    ca_file: str = ""


def settings(
    server: str | None = None, token_file: str | None = None, ca_file: str | None = None
) -> Settings:
    """The settings in force. Raises Invalid or Unauthorised."""
    endpoint = parse_server(server or os.environ.get("IAAS_SERVER") or DEFAULT_SERVER)
    chosen = token_file or os.environ.get("IAAS_TOKEN_FILE")
    token = read_token(chosen or DEFAULT_TOKEN_FILE, optional=not chosen)
    if token and endpoint.scheme == "http" and not endpoint.is_loopback:
        raise Invalid(
            f"refusing to send the token to {endpoint} unencrypted",
            why="anybody on the way could read it, and with it do everything you can",
            fix="use https://, or a tunnel: ssh -L 7700:127.0.0.1:7700 HOST, and no --server",
        )
    authority = ca_file or os.environ.get("IAAS_CA") or ""
    return Settings(endpoint, token, chosen or DEFAULT_TOKEN_FILE, authority)


def parse_server(url: str) -> Endpoint:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if (
        not host
        or not host.isascii()
        or parts.scheme not in ("http", "https")
        or parts.path.strip("/")
        or parts.query
    ):
        raise Invalid(f"{url!r} is not the address of a server", fix=f"write {DEFAULT_SERVER}")
    if parts.username or parts.password:
        raise Invalid(
            "the address of the server contains a user or password",
            fix="leave it out; the token is read from --token-file",
        )
    return Endpoint(parts.scheme, host, port or (443 if parts.scheme == "https" else 7700))


def read_token(path: str, *, optional: bool) -> str:
    """The token in the file; empty if it is `optional` and does not exist."""
    try:
        return _token(Path(path))
    except FileNotFoundError:
        if optional:
            return ""
        raise Unauthorised(f"there is no token file {path}", fix=WHERE) from None
    except OSError as error:
        raise Unauthorised(
            f"cannot read the token file {path}", why=error.strerror or str(error), fix=WHERE
        ) from None


def _token(path: Path) -> str:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unauthorised(f"the token file {path} is not a file", fix=WHERE)
        if status.st_mode & 0o077:
            raise Unauthorised(
                f"the token file {path} can be read by other users",
                why=f"its mode is {stat.S_IMODE(status.st_mode):04o}",
                fix=f"chmod 600 {path}",
            )
        text = file.read(TOKEN_LIMIT + 1).strip()
    if not text.isascii() or len(text) > TOKEN_LIMIT or len(text.split()) != 1:
        raise Unauthorised(
            f"{path} does not hold a token", why="a token is one word on one line", fix=WHERE
        )
    return text.decode("ascii")


WHERE = (
    f"the reconciler keeps its token in {DEFAULT_TOKEN_FILE}, for root only:\n"
    "run iaasctl as root, or copy the token to a file of yours (mode 600)\n"
    "and name that with --token-file or IAAS_TOKEN_FILE"
)
