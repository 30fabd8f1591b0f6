"""iaasctl delete."""

import sys
from collections.abc import Sequence

import click

from iaasctl.client import Client
from iaasctl.completing import words_of
from iaasctl.errors import Exit, Failure, Invalid, on_interrupt
from iaasctl.following import follow
from iaasctl.kinds import BY_NAME, SOURCE, keys_of
from iaasctl.plans import plan_text, summary
from iaasctl.progress import progress
from iaasctl.session import connected, wait_options
from iaasctl.settle import Key, Target
from iaasctl.terminal import note, out, safe

ASK_FROM = 4
"""With so many objects a person is asked."""


@click.command("delete")
@click.argument("words", nargs=-1, metavar="[KIND NAME...]", shell_complete=words_of)
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(allow_dash=True),
    metavar="FILE|DIR|-",
    help="Delete what these manifests name.",
)
@click.option("--ignore-not-found", is_flag=True, help="What does not exist is deleted already.")
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@wait_options("all of it is gone")
@click.option("--approve", is_flag=True, help="Allow to stop or delete many machines at once.")
@connected
def command(
    client: Client,
    *,
    words: tuple[str, ...],
    files: tuple[str, ...],
    ignore_not_found: bool,
    dry_run: bool,
    yes: bool,
    waits: bool,
    timeout: float,
    approve: bool,
) -> int:
    """Delete objects, all or nothing: those named, or those that manifests name.

    A deleted machine is stopped and its disk removed. On a terminal you are asked when more than 3
    objects go. An image that a machine still uses cannot be deleted.

    \b
    Examples:
      iaasctl delete machine web1 web2
      iaasctl delete -f cluster.yaml --wait
      iaasctl get machines -l app=old -o name | xargs iaasctl delete
    """
    keys = _keys(words, files)
    if ignore_not_found:
        keys = _existing(client, keys)
    if not keys:
        note("nothing to delete")
        return Exit.OK
    if len(keys) >= ASK_FROM and not (yes or dry_run):
        _confirm(keys)
    with on_interrupt("nobody knows whether it was deleted", "run the same command again"):
        outcome = client.delete(keys, approve=approve, dry_run=dry_run)
    out(plan_text(outcome))
    if waits and not dry_run:
        targets = [Target(kind=kind, name=name, gone=True) for kind, name in keys]
        follow(client, targets, timeout, progress(), f"accepted: {summary(outcome)}")
    return Exit.OK


def _keys(words: tuple[str, ...], files: tuple[str, ...]) -> list[Key]:
    if bool(words) == bool(files):
        raise Invalid(
            "delete what?", fix="iaasctl delete KIND NAME..., or iaasctl delete -f FILE; not both"
        )
    if files:
        return _keys_in(files)
    kind, names = keys_of(words)
    if kind is SOURCE:
        raise Invalid(
            "a watched directory is not deleted here",
            fix="remove manifests from it; or start iaas-reconciler without its --watch",
        )
    if not names:
        raise Invalid(f"which {kind.plural}?", fix=f"iaasctl delete {kind.word} NAME...")
    return [(kind.name, name) for name in dict.fromkeys(names)]


def _keys_in(files: Sequence[str]) -> list[Key]:
    """Kind and name of each document; the rest of it need not be valid to be deleted."""
    from iaasctl.submission import invalid
    from manifests.load import load_paths

    loaded = load_paths(files)
    problems = list(loaded.problems)
    keys = []
    for document in loaded.documents:
        kind, metadata = document.data.get("kind"), document.data.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if kind not in BY_NAME or not isinstance(name, str):
            problems.append(document.problem((), "says no kind and metadata.name to delete"))
        else:
            keys.append((str(kind), name))
    if problems:
        raise invalid(problems)
    return list(dict.fromkeys(keys))


def _existing(client: Client, keys: Sequence[Key]) -> list[Key]:
    kinds = {kind for kind, _ in keys}
    known = {
        (kind, str(item.get("name")))
        for kind in kinds
        for item in client.objects(BY_NAME[kind].plural)
    }
    return [key for key in keys if key in known]


def _confirm(keys: Sequence[Key]) -> None:
    """Asks a person; a script, which has no terminal to be asked on, is not held up."""
    if sys.stdin is None or not sys.stdin.isatty():
        return
    note("\n".join(f"- {BY_NAME[kind].word}/{safe(name)}" for kind, name in keys))
    if not click.confirm(f"delete these {len(keys)} objects?", err=True):
        raise Failure("nothing was deleted", fix="--yes deletes without asking")
