"""iaasctl vm: the lab's commands for machines, VMs and containers alike."""

import click

from iaasctl.client import Client
from iaasctl.completing import names_of
from iaasctl.errors import Exit, on_interrupt
from iaasctl.following import follow
from iaasctl.groups import change, help_alone, listing, removal
from iaasctl.kinds import IMAGE, MACHINE, NODE
from iaasctl.progress import progress
from iaasctl.session import connected, wait_options
from iaasctl.settle import Target
from iaasctl.terminal import note, out, safe
from iaasctl.views import name_of, state

IDS = "ID..."


@click.group("vm", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Add, start, stop, remove and list machines: VMs and containers.

    An ID may be shortened to 4 characters or more while only one machine has it; the machine's name
    does as well.

    \b
    Examples:
      ID=$(iaasctl vm add nginx -n node1 -p 8080:80)
      iaasctl vm stop $ID
      iaasctl vm ls state=stopped
    """
    help_alone(ctx)


@command.command("add")
@click.argument("image", shell_complete=names_of(IMAGE, ids=False))
@click.option(
    "-t", "--type", "type_", type=click.Choice(["docker", "libvirt"]), help="Default: the image's."
)
@click.option("-m", "--mem", metavar="MEM", help="In MiB, or 256Mi, 2Gi. Default: 256.")
@click.option(
    "-n",
    "--node",
    shell_complete=names_of(NODE, ids=False),
    help="Run it there. Default: where there is room and the ports are free.",
)
@click.option(
    "-p",
    "--port",
    "ports",
    multiple=True,
    metavar="NODEPORT:VMPORT",
    help="Publish a port of the machine on its node; NODEPORT:VMPORT/udp for UDP. Repeatable.",
)
@click.option("--name", help="Default: one is made of the image's.")
@click.option("--cpus", metavar="CPUS", help="2, 0.5 or 500m. Default: 1.")
@wait_options("it runs")
@connected
def add(
    client: Client,
    *,
    image: str,
    type_: str | None,
    mem: str | None,
    node: str | None,
    ports: tuple[str, ...],
    name: str | None,
    cpus: str | None,
    waits: bool,
    timeout: float,
) -> int:
    """Add a machine that starts from IMAGE, and print its id.

    The id alone goes to standard output, for scripts. A port that is taken on the node is refused.

    \b
    Examples:
      iaasctl vm add debian -t libvirt -n node1
      iaasctl vm add nginx -t docker -n node2 -p 8080:80
      ID=$(iaasctl vm add nginx -m 512 -p 8080:80 --wait)
    """
    with on_interrupt("nobody knows whether it was added", "iaasctl vm ls shows it"):
        machine = client.add_machine(
            image, name=name, type=type_, mem=mem, cpus=cpus, node=node, ports=ports
        )
    out(safe(machine.get("id")))
    if not waits:
        note(f"machine/{name_of(machine)} {state(machine)}")
        return Exit.OK
    targets = [Target(kind=MACHINE.name, name=str(machine.get("name")))]
    follow(client, targets, timeout, progress(), f"added {name_of(machine)}", show=note)
    return Exit.OK


@command.command("start")
@click.argument("words", nargs=-1, required=True, metavar=IDS, shell_complete=names_of(MACHINE))
@wait_options("all of them run")
@connected
def start(client: Client, *, words: tuple[str, ...], waits: bool, timeout: float) -> int:
    """Start machines that are stopped.

    \b
    Example:
      iaasctl vm start 3f2a9c41
    """
    change(
        client,
        MACHINE,
        words,
        lambda client, machine: client.start_machine(str(machine.get("id"))),
        waits=timeout if waits else None,
    )
    return Exit.OK


@command.command("stop")
@click.argument("words", nargs=-1, required=True, metavar=IDS, shell_complete=names_of(MACHINE))
@wait_options("all of them are stopped")
@connected
def stop(client: Client, *, words: tuple[str, ...], waits: bool, timeout: float) -> int:
    """Stop machines, and keep their disks, ports and places.

    \b
    Example:
      iaasctl vm stop 3f2a9c41 web1
    """
    change(
        client,
        MACHINE,
        words,
        lambda client, machine: client.stop_machine(str(machine.get("id"))),
        waits=timeout if waits else None,
    )
    return Exit.OK


command.add_command(
    removal(
        MACHINE,
        IDS,
        lambda client, machine: client.remove_machine(str(machine.get("id"))),
        """Stop machines and remove them with their disks.

        \b
        Examples:
          iaasctl vm rm 3f2a9c41
          iaasctl vm rm web1 web2 --wait
        """,
    )
)
command.add_command(
    listing(
        MACHINE,
        """List machines, or those with these values.

        \b
        Examples:
          iaasctl vm ls
          iaasctl vm ls state=running node=node1
          iaasctl vm ls image=nginx -o json
        """,
    )
)
