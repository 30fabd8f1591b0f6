"""iaasctl apply."""

import click

from iaasctl.client import Client
from iaasctl.errors import Exit, on_interrupt
from iaasctl.following import follow
from iaasctl.plans import plan_text, summary
from iaasctl.progress import progress
from iaasctl.session import connected, files_option, set_options, wait_options
from iaasctl.submission import prepare, submit
from iaasctl.terminal import note, out
from iaasctl.waiting import targets_of


@click.command("apply")
@files_option
@set_options
@click.option("--dry-run", is_flag=True, help="Only show what would change; like plan, but exit 0.")
@wait_options("everything is as wanted")
@click.option("--approve", is_flag=True, help="Allow to stop or delete many machines at once.")
@connected
def command(
    client: Client,
    *,
    files: tuple[str, ...],
    set_name: str | None,
    prune: bool,
    dry_run: bool,
    waits: bool,
    timeout: float,
    approve: bool,
) -> int:
    """Make the cluster what the manifests say: all of them, or nothing.

    The manifests given together are one set, which owns its objects: what the set had before and
    no longer names is deleted (--no-prune keeps it). Applying the same again changes nothing.
    The signs: + create, ~ change in place, ! restart, ± replace by a new one, - delete.

    \b
    Examples:
      iaasctl apply -f cluster.yaml
      iaasctl apply -f cluster.yaml --wait --timeout 2m
      iaasctl apply -f web/ -f db.yaml --set shop
      generate-manifests | iaasctl apply -f - --set generated

    \b
    Exit codes: 0 accepted (--wait: everything is as wanted) · 1 something failed for good
    2 the manifests are not valid · 3 --wait: time is over, it goes on converging
    5 conflict · 6 not allowed · 7 no reconciler
    """
    shown = progress()
    with on_interrupt("nothing was applied"):
        submission = prepare(files, set_name, shown.transfer)
    outcome = submit(
        client, submission, prune=prune, approve=approve, dry_run=dry_run, progress=shown.transfer
    )
    shown.close()
    out(plan_text(outcome))
    if dry_run:
        return Exit.OK
    if waits:
        done = f"applied: {summary(outcome)}"
        follow(client, targets_of(submission.keys, outcome), timeout, shown, done)
    elif outcome.lines:
        note("accepted; `iaasctl get all --watch` follows it, and so does apply with --wait")
    return Exit.OK
