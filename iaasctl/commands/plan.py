"""iaasctl plan, also called diff."""

import click

from iaasctl.answers import Outcome
from iaasctl.client import Client
from iaasctl.errors import Exit, Failure
from iaasctl.output import as_data
from iaasctl.plans import plan_text
from iaasctl.progress import progress
from iaasctl.session import connected, files_option, set_options
from iaasctl.submission import prepare, submit
from iaasctl.terminal import out

CHANGES = 2


@click.command("plan")
@files_option
@set_options
@click.option("-o", "form", type=click.Choice(["text", "json", "yaml"]), default="text")
@connected
def command(
    client: Client, *, files: tuple[str, ...], set_name: str | None, prune: bool, form: str
) -> int:
    """Show what apply would change, and change nothing.

    Each line says what happens to one object, and why; below it the fields that change, with what
    that does to the running machine (in place, restart, replace).

    \b
    Examples:
      iaasctl plan -f cluster.yaml
      iaasctl plan -f cluster.yaml -o json | jq '.lines[] | select(.action == "delete")'

    Image files that the reconciler lacks are uploaded, since it checks them; until an Image names
    them they change nothing.

    Exit codes: 0 no change · 2 there are changes · 1 error
    """
    try:
        outcome = _planned(client, files, set_name, prune)
    except Failure as error:
        error.exit_code = Exit.FAILED
        raise
    out(plan_text(outcome) if form == "text" else as_data(outcome.data, form))
    return CHANGES if outcome.lines else Exit.OK


def _planned(client: Client, files: tuple[str, ...], set_name: str | None, prune: bool) -> Outcome:
    shown = progress()
    try:
        submission = prepare(files, set_name, shown.transfer)
        return submit(client, submission, prune=prune, dry_run=True, progress=shown.transfer)
    finally:
        shown.close()
