"""iaasctl node: the lab's commands for nodes."""

import click

from iaasctl.client import Client
from iaasctl.errors import Exit
from iaasctl.groups import help_alone, listing, removal
from iaasctl.kinds import NODE
from iaasctl.session import connected
from iaasctl.terminal import note
from iaasctl.views import name_of, state


@click.group("node", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Add, remove and list nodes: the hosts that machines run on.

    \b
    Examples:
      iaasctl node add node1 127.0.0.1:7701
      iaasctl node ls
      iaasctl node rm node1
    """
    help_alone(ctx)


@command.command("add")
@click.argument("name")
@click.argument("addr", metavar="ADDR:PORT")
@connected
def add(client: Client, *, name: str, addr: str) -> int:
    """Add a node: the host whose agent listens at ADDR:PORT.

    Several agents can run on one host, each at its own port, each a node of its own.

    \b
    Example:
      iaasctl node add node1 127.0.0.1:7701
    """
    node = client.add_node(name, addr)
    note(f"node/{name_of(node)} {state(node)}")
    return Exit.OK


command.add_command(
    removal(
        NODE,
        "NAME...",
        lambda client, node: client.remove_node(str(node.get("name"))),
        """Remove nodes that no machine uses.

        \b
        Example:
          iaasctl node rm node1
        """,
    )
)
command.add_command(
    listing(
        NODE,
        """List nodes, or those with these values.

        \b
        Examples:
          iaasctl node ls
          iaasctl node ls state=ready -o wide
        """,
    )
)
