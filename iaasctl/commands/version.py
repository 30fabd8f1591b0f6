"""iaasctl version."""

import click

from iaasctl.client import Client
from iaasctl.errors import Exit, Failure
from iaasctl.session import connected
from iaasctl.terminal import out, safe


@click.command("version")
@connected
def command(client: Client) -> int:
    """Show the versions of this program and of the reconciler it talks to.

    \b
    Example:
      iaasctl version
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("iaasctl")
    except PackageNotFoundError:
        own = "unknown (not installed)"
    out(f"client: {own}")
    try:
        health = client.health()
    except Failure:
        out("server: unknown")
        raise
    out(f"server: {safe(health.get('version') or 'it answers, but does not tell its version')}")
    return Exit.OK
