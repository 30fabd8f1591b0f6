"""The program: the table of commands, loaded when called, and the one place where errors end.

Adding a command: one module in `commands` with a function `command`, and one line in COMMANDS.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from iaasctl.errors import Exit, Failure, Invalid
from iaasctl.session import WHERE, Session
from iaasctl.terminal import ClosedPipe, prepare_streams, report

COMMANDS = {
    "apply": "Make the cluster what the manifests say.",
    "plan": "Show what apply would change (also: diff).",
    "get": "List nodes, images, machines, sources.",
    "describe": "Tell everything about one object, and why it is not ready.",
    "delete": "Delete objects by name or by manifest.",
    "events": "Show what happened, and why.",
    "approve": "Let through what waits in a watched directory.",
    "audit": "Show who changed what, and who was refused.",
    "node": "The lab's commands for nodes: add, rm, ls.",
    "img": "The lab's commands for images: add, rm, ls.",
    "vm": "The lab's commands for machines: add, start, stop, rm, ls.",
    "schema": "Print the JSON Schema of a kind, for editors.",
    "completion": "Print the completion script for bash, zsh or fish.",
    "version": "Show the versions of client and server.",
}
ALIASES = {"diff": "plan"}
"""Other names, not shown in the list of commands."""
COMPLETE = "_IAASCTL_COMPLETE"
"""What the completion script of a shell sets when it asks what could follow."""


class Commands(click.Group):
    """A group that imports a command's module only when that command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        command = import_module(f"iaasctl.commands.{name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and args[0] not in ALIASES and not args[0].startswith("-"):
            raise click.NoSuchCommand(args[0], possibilities=[*COMMANDS, *ALIASES], ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, no_args_is_help=False, invoke_without_command=True)
@click.option(
    "--server",
    metavar="URL",
    help="Reconciler to talk to. Default: $IAAS_SERVER, or http://127.0.0.1:7700.",
)
@click.option(
    "--token-file",
    type=click.Path(),
    metavar="FILE",
    help="File with its token. Default: $IAAS_TOKEN_FILE, or the reconciler's own.",
)
@click.option(
    "--ca-file",
    metavar="FILE",
    help="Trust only servers of this authority, for https. Default: $IAAS_CA, or those the system trusts.",
)
@click.pass_context
def cli(ctx: click.Context, /, **where: str | None) -> None:
    """Run virtual machines and containers on your own Linux hosts, as YAML manifests say.

    \b
    Examples:
      iaasctl plan -f cluster.yaml           what would change
      iaasctl apply -f cluster.yaml --wait   change it, and follow until it runs
      iaasctl get machines                   what there is now
      iaasctl describe machine web1          all about one, and why it is not ready
      iaasctl vm add nginx -p 8080:80        one machine without a manifest

    `iaasctl COMMAND --help` explains a command.
    """
    session: Session = ctx.obj
    session.where = [where[name] for name in WHERE]
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None, session: Session | None = None) -> int:
    """Runs the command and returns its exit code. No exception leaves it."""
    prepare_streams()
    if os.environ.get(COMPLETE):
        return _complete(arguments, session or Session())
    try:
        return _run(arguments, session or Session())
    except (BrokenPipeError, ClosedPipe):
        _abandon_stdout()
        return Exit.CLOSED_PIPE
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPTED


def _complete(arguments: Sequence[str] | None, session: Session) -> int:
    """Answers the shell, in whose line nothing else may appear."""
    try:
        cli.main(arguments, prog_name="iaasctl", standalone_mode=False, obj=session)
    except (Exception, KeyboardInterrupt):
        _abandon_stdout()
    return Exit.FAILED


def _run(arguments: Sequence[str] | None, session: Session) -> int:
    try:
        code = cli.main(arguments, prog_name="iaasctl", standalone_mode=False, obj=session)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code if isinstance(code, int) else Exit.OK
    except Failure as error:
        report(error)
        return error.exit_code
    except click.ClickException as error:
        return _usage(error)
    except (click.Abort, BrokenPipeError, ClosedPipe):
        raise
    except OSError as error:
        _abandon_stdout()
        report(Failure("cannot go on", error.strerror or str(error)))
        return Exit.FAILED
    except Exception as error:
        if os.environ.get("IAAS_TRACEBACK"):
            raise
        report(Failure("iaasctl itself failed", f"{type(error).__name__}: {error}", REPORT))
        return Exit.FAILED


REPORT = "please report it, with what the same command prints with IAAS_TRACEBACK=1"


def _usage(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "iaasctl"
    report(Invalid(error.format_message(), fix=f"{path} --help shows how it is used"))
    is_plan = context is not None and context.command.name == "plan"
    return Exit.FAILED if is_plan else Exit.INVALID


def _abandon_stdout() -> None:
    """Nobody reads any more: what is still buffered must not fail again when Python ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        sys.stdout = None


def run() -> None:
    """For `python -m iaasctl.main`."""
    sys.exit(main())


if __name__ == "__main__":
    run()
