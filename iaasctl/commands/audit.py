"""iaasctl audit."""

import click

from iaasctl.client import Client
from iaasctl.errors import Exit
from iaasctl.output import FORMATS, as_text
from iaasctl.session import connected
from iaasctl.terminal import note, out


@click.command("audit")
@click.option(
    "--since",
    type=click.IntRange(0),
    metavar="ID",
    help="Only entries after this one, the first 1000; -o wide shows their ids.",
)
@click.option("-n", "--limit", type=click.IntRange(1), help="At most so many, the latest.")
@click.option(
    "-o",
    "form",
    type=click.Choice([form for form in FORMATS if form != "name"]),
    default="table",
    help="Form of the output.",
)
@connected
def command(client: Client, *, since: int | None, limit: int | None, form: str) -> int:
    """Show who changed what, and who was refused, oldest first. For admins.

    \b
    Examples:
      iaasctl audit
      iaasctl audit -n 20 -o wide
      iaasctl audit --since 1042 -o json
    """
    asked = {"since": since, "limit": limit}
    entries = client.audit(**{name: str(it) for name, it in asked.items() if it is not None})
    if text := as_text([("audit", entries)], form):
        out(text)
    if not entries and form in ("table", "wide"):
        note("no entries")
    return Exit.OK
