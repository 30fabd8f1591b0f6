"""What the lab's groups (node, img, vm) have in common: `ls`, `rm`, and doing one thing to several."""

from collections.abc import Callable, Sequence

import click

from iaasctl.answers import Object
from iaasctl.client import Client
from iaasctl.commands.get import show
from iaasctl.completing import filters_of, names_of
from iaasctl.errors import Exit, Failure, Invalid, Unauthorised, Unreachable, on_interrupt
from iaasctl.following import follow
from iaasctl.kinds import Kind
from iaasctl.lab import SAFE
from iaasctl.output import FORMATS
from iaasctl.progress import progress
from iaasctl.resolution import resolve
from iaasctl.selection import selection
from iaasctl.session import connected, wait_options
from iaasctl.settle import Target
from iaasctl.terminal import note, report
from iaasctl.views import name_of, state

Act = Callable[[Client, Object], Object | None]
"""Changes one object; tells it as it is then, or None when it is gone."""


def help_alone(ctx: click.Context) -> None:
    """A group without a command shows its help."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def listing(kind: Kind, text: str) -> click.Command:
    """The command `ls` of a kind: the table of `get`."""

    @click.command("ls", help=text)
    @click.argument(
        "filters", nargs=-1, metavar="[FIELD=VALUE]...", shell_complete=filters_of(kind)
    )
    @click.option(
        "-o", "form", type=click.Choice(FORMATS), default="table", help="Form of the output."
    )
    @connected
    def ls(client: Client, *, filters: tuple[str, ...], form: str) -> int:
        if wrong := [word for word in filters if "=" not in word]:
            raise Invalid(
                f"{wrong[0]!r} is not FIELD=VALUE", fix=f"iaasctl get {kind.word} NAME shows one"
            )
        show(client, selection((kind.plural, *filters), ()), form)
        return Exit.OK

    return ls


def removal(kind: Kind, metavar: str, remove: Act, text: str) -> click.Command:
    """The command `rm` of a kind."""

    @click.command("rm", help=text)
    @click.argument(
        "words", nargs=-1, required=True, metavar=metavar, shell_complete=names_of(kind)
    )
    @wait_options("all of it is gone")
    @connected
    def rm(client: Client, *, words: tuple[str, ...], waits: bool, timeout: float) -> int:
        change(client, kind, words, remove, waits=timeout if waits else None, gone=True)
        return Exit.OK

    return rm


def change(
    client: Client,
    kind: Kind,
    words: Sequence[str],
    act: Act,
    *,
    waits: float | None,
    gone: bool = False,
) -> None:
    """Does it to everything that the words name, and with `waits` follows that for so many seconds.

    Nothing is done unless every word names something; what one of them is refused stops no other.
    """
    found = resolve(client, kind, words)
    refused = []
    with on_interrupt("nobody knows whether all of it was done", SAFE):
        for item in found:
            try:
                _tell(kind, item, act(client, item))
            except (Unreachable, Unauthorised):
                raise
            except Failure as error:
                refused.append(error)
    for failure in refused[:-1]:
        report(failure)
    if refused:
        raise refused[-1]
    if waits is not None:
        targets = [Target(kind=kind.name, name=str(it.get("name")), gone=gone) for it in found]
        follow(client, targets, waits, progress(), "accepted")


def _tell(kind: Kind, before: Object, after: Object | None) -> None:
    now = "is gone" if after is None else state(after)
    note(f"{kind.word}/{name_of(before)} {now}")
