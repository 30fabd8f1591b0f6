"""iaasctl get."""

import click

from iaasctl.answers import Object
from iaasctl.client import Client
from iaasctl.completing import words_of
from iaasctl.errors import Exit, Invalid
from iaasctl.output import FORMATS, as_text
from iaasctl.selection import Selection, selection
from iaasctl.session import connected
from iaasctl.terminal import note, out


@click.command("get")
@click.argument(
    "words", nargs=-1, metavar="KIND [NAME...] [FIELD=VALUE...]", shell_complete=words_of
)
@click.option("-o", "form", type=click.Choice(FORMATS), default="table", help="Form of the output.")
@click.option(
    "-l", "--label", "labels", multiple=True, metavar="KEY[=VALUE]", help="Only with this label."
)
@click.option("-w", "--watch", is_flag=True, help="Go on, and print what changes when it changes.")
@connected
def command(
    client: Client, *, words: tuple[str, ...], form: str, labels: tuple[str, ...], watch: bool
) -> int:
    """List nodes, images, machines or all of them; or sources, the watched directories.

    KIND is node, image, machine, source, or short no, img, vm, src; singular and plural are the same.

    \b
    Examples:
      iaasctl get machines
      iaasctl get vm web1 -o json
      iaasctl get machines state=failed node=n1 -o wide
      iaasctl get machines -l app=shop --watch
      iaasctl get machines -l app=old -o name | xargs iaasctl delete
    """
    if words and words[0] in ("events", "event"):
        raise Invalid("events have their own command", fix="iaasctl events [KIND/NAME] [--watch]")
    chosen = selection(words, labels)
    if watch:
        from iaasctl.watching import watch_objects

        watch_objects(client, chosen, form)
        return Exit.OK
    show(client, chosen, form)
    return Exit.OK


def show(client: Client, chosen: Selection, form: str) -> None:
    if chosen.single and not chosen.filters and not chosen.labels:
        item = client.object(chosen.kinds[0].plural, chosen.names[0])
        out(as_text([(chosen.kinds[0].plural, [item])], form, single=True))
        return
    groups = [
        (kind.plural, chosen.of(client.objects(kind.plural, chosen.filters)))
        for kind in chosen.kinds
    ]
    if text := as_text(groups, form):
        out(text)
    found: list[Object] = [item for _, objects in groups for item in objects]
    if not found and not chosen.names and form in ("table", "wide"):
        what = chosen.kinds[0].plural if len(chosen.kinds) == 1 else "objects"
        note(f"no {what}" + (" like that" if chosen.filters or chosen.labels else ""))
    chosen.check_found(found)
