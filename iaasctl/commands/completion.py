"""iaasctl completion: needs no server."""

import click

from iaasctl.errors import Exit, Failure
from iaasctl.terminal import out


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, *, shell: str) -> int:
    """Print the script that makes a shell complete commands, options, kinds, names and ids.

    \b
    Examples:
      source <(iaasctl completion bash)      # this shell; in ~/.bashrc: every shell
      iaasctl completion zsh > "${fpath[1]}/_iaasctl"
      iaasctl completion fish > ~/.config/fish/completions/iaasctl.fish
    """
    from click.shell_completion import get_completion_class

    from iaasctl.main import COMPLETE

    kind = get_completion_class(shell)
    if kind is None:
        raise Failure(f"there is no completion for {shell}")
    root = ctx.find_root()
    completer = kind(root.command, {}, "iaasctl", COMPLETE)
    out((completer.source_template % completer.source_vars()).strip())
    return Exit.OK
