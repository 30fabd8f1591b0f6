"""What one run of the program shares: which server was chosen, and how a client of it is made."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from iaasctl.timeouts import SECONDS

if TYPE_CHECKING:
    from iaasctl.client import Client

Chosen = str | None
Connect = Callable[[Chosen, Chosen, Chosen], "Client"]
WHERE = ("server", "token_file", "ca_file")
"""The options that say which server, and how."""


def _connect(server: Chosen, token_file: Chosen, ca_file: Chosen) -> "Client":
    from iaasctl.client import Client

    return Client.connect(server, token_file, ca_file)


class Session:
    """`connect` makes the client; tests give one that needs no socket."""

    def __init__(self, connect: Connect = _connect) -> None:
        self.where: Sequence[Chosen] = (None,) * len(WHERE)
        """As said before the command."""
        self._connect = connect

    def client(self, *where: Chosen) -> "Client":
        """`where` is as said after the command, and goes first."""
        return self._connect(
            *(late or early for late, early in zip(where, self.where, strict=True))
        )


def connected(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command that gets a `client`; adds the options of WHERE."""

    @click.option("--server", metavar="URL", help="Reconciler to talk to. Default: $IAAS_SERVER.")
    @click.option(
        "--token-file",
        type=click.Path(),
        metavar="FILE",
        help="File with its token. Default: $IAAS_TOKEN_FILE.",
    )
    @click.option(
        "--ca-file",
        type=click.Path(),
        metavar="FILE",
        help="Authority to trust. Default: $IAAS_CA.",
    )
    @click.pass_context
    def with_client(ctx: click.Context, /, **arguments: Any) -> Any:
        session: Session = ctx.obj
        with session.client(*(arguments.pop(name) for name in WHERE)) as client:
            return function(client, **arguments)

    return functools.update_wrapper(with_client, function)


def files_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option -f of apply and plan."""
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        required=True,
        type=click.Path(allow_dash=True),
        metavar="FILE|DIR|-",
        help="Manifests: a file, a directory with all below it, or - for standard input. Repeatable.",
    )(function)


def set_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that apply and plan share besides -f."""
    prune = click.option(
        "--prune/--no-prune",
        default=True,
        help="Delete what the set had before and the manifests no longer name. Default: prune.",
    )
    name = click.option(
        "--set",
        "set_name",
        metavar="NAME",
        help="Name of the set that owns these objects. Default: the first file's name.",
    )
    return name(prune(function))


def wait_options(goal: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options --wait (as `waits`) and --timeout; `goal`: until when it waits."""

    def with_options(function: Callable[..., Any]) -> Callable[..., Any]:
        wait = click.option("--wait", "waits", is_flag=True, help=f"Follow until {goal}.")
        timeout = click.option(
            "--timeout", type=SECONDS, default="300s", show_default=True, help="How long to --wait."
        )
        return wait(timeout(function))

    return with_options
