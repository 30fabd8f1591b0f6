"""iaasctl events."""

import click

from iaasctl.client import Client
from iaasctl.errors import Exit, Invalid
from iaasctl.kinds import kind_of
from iaasctl.output import FORMATS, as_text
from iaasctl.session import connected
from iaasctl.terminal import note, out


@click.command("events")
@click.argument("about", required=False, metavar="[KIND[/NAME]]")
@click.option("--since", metavar="ID", help="Only events after this one; -o wide shows their ids.")
@click.option("-n", "--limit", type=click.IntRange(1), help="At most so many, the latest.")
@click.option("-o", "form", type=click.Choice(FORMATS), default="table", help="Form of the output.")
@click.option("-w", "--watch", is_flag=True, help="Go on, and print events as they happen.")
@connected
def command(
    client: Client,
    *,
    about: str | None,
    since: str | None,
    limit: int | None,
    form: str,
    watch: bool,
) -> int:
    """Show what happened to objects, and why, oldest first.

    \b
    Examples:
      iaasctl events
      iaasctl events machine/web1
      iaasctl events --watch
      iaasctl events --since 1042 -o json
    """
    query = query_of(about)
    if since is not None:
        if not since.isascii() or not since.isprintable():
            raise Invalid(f"{since!r} is not the id of an event")
        query["since"] = since
    if limit is not None:
        query["limit"] = str(limit)
    if watch:
        from iaasctl.watching import watch_events

        watch_events(client, query, form)
    events = client.events(**query)
    if text := as_text([("events", events)], form):
        out(text)
    if not events and form in ("table", "wide"):
        note("no events")
    return Exit.OK


def query_of(about: str | None) -> dict[str, str]:
    """`machine/web1` as the API asks for it."""
    if not about:
        return {}
    word, _, name = about.partition("/")
    kind = kind_of(word)
    return {"kind": kind.name, "name": name} if name else {"kind": kind.name}
