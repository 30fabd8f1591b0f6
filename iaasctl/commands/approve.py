"""iaasctl approve."""

import sys
from collections.abc import Mapping

import click

from iaasctl.answers import Object
from iaasctl.client import Client
from iaasctl.completing import names_of
from iaasctl.errors import Conflict, Exit, Failure, on_interrupt
from iaasctl.kinds import SOURCE
from iaasctl.plans import plan_text
from iaasctl.reading import Seen
from iaasctl.session import connected
from iaasctl.sources import content, waiting
from iaasctl.terminal import note, out, safe

PATIENCE = 10.0
LOOKS = 6


@click.command("approve")
@click.argument("source", shell_complete=names_of(SOURCE, ids=False))
@click.argument("expected", required=False, metavar="[COMMIT|DIGEST]")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@connected
def command(client: Client, *, source: str, expected: str | None, yes: bool) -> int:
    """Let through what waits in a watched directory because it would stop or delete many machines.

    What it would do is shown, and on a terminal you are asked. Only that very content is let
    through: what has come into the directory since then waits again. With COMMIT or DIGEST nothing
    is let through but that. Only an admin may approve.

    \b
    Examples:
      iaasctl get sources
      iaasctl approve dir:shop
      iaasctl approve dir:shop 4f1c0d8e --yes

    \b
    Exit codes: 0 it is in force · 5 nothing waits, or something else does · 6 not allowed
    """
    item = client.object(SOURCE.plural, source)
    name = safe(item.get("name"))
    if item.get("state") != "waiting":
        raise Conflict(f"nothing of {name} waits for approval", f"it is {safe(item.get('state'))}")
    if expected and not _is(item, expected):
        raise Conflict(f"something else waits in {name}", content(item), "look at it again")
    out(plan_text(waiting(item)))
    note(f"{name}: {safe(item.get('reason'))}")
    if not yes:
        _confirm(content(item))
    with on_interrupt("nobody knows whether it was approved", "iaasctl get sources tells"):
        client.approve(source, content(item))
        return _follow(client, name, content(item))


def _confirm(approved: str) -> None:
    """Asks a person; a script, which has no terminal to be asked on, is not held up."""
    if sys.stdin is None or not sys.stdin.isatty():
        return
    if not click.confirm(f"approve it, content {approved[:12]}?", err=True):
        raise Failure("nothing was approved", fix="--yes approves without asking")


def _is(item: Object, expected: str) -> bool:
    found = item.get("found")
    names = [found.get("digest"), found.get("commit")] if isinstance(found, Mapping) else []
    return len(expected) >= 7 and any(str(name or "").startswith(expected) for name in names)


def _follow(client: Client, name: str, approved: str) -> int:
    """Until it is in force, or is not."""
    seen: Seen | None = None
    for _ in range(LOOKS):
        seen = client.look(SOURCE.plural, wait=PATIENCE if seen else 0, seen=seen)
        item = next((one for one in seen.objects if one.get("name") == name), {})
        if item.get("state") == "applied" and item.get("digest") == approved:
            note(f"{name} is in force; `iaasctl get all --watch` follows it")
            return Exit.OK
        if item.get("state") != "waiting" or content(item) != approved:
            raise Conflict(f"{name} is not in force", str(item.get("reason") or item.get("state")))
    raise Failure(f"{name} is approved, but not in force yet", fix="iaasctl get sources --watch")
