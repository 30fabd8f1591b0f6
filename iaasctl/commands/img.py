"""iaasctl img: the lab's commands for images."""

from pathlib import Path

import click

from iaasctl import views
from iaasctl.client import Client
from iaasctl.errors import Exit, on_interrupt
from iaasctl.groups import help_alone, listing, removal
from iaasctl.kinds import IMAGE
from iaasctl.progress import progress
from iaasctl.session import connected
from iaasctl.terminal import note
from iaasctl.uploads import GO_ON


@click.group("img", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Add, remove and list images: what machines start from.

    \b
    Examples:
      iaasctl img add nginx nginx.tar
      iaasctl img ls
      iaasctl img rm nginx
    """
    help_alone(ctx)


@command.command("add")
@click.argument("name")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--type", "type_", type=click.Choice(["docker", "libvirt"]), help="Default: by the format."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["docker-archive", "qcow2", "raw"]),
    help="Default: by the ending: .tar, .qcow2, .img (a qcow2), .raw.",
)
@click.option("--url", metavar="URL", help="The server fetches it from there (https).")
@click.option("--sha256", metavar="HEX", help="With --url: the digest of the bytes.")
@click.option("--registry", metavar="REF", help="NAME[:TAG]@sha256:DIGEST; nodes pull it.")
@connected
def add(
    client: Client,
    *,
    name: str,
    file: Path | None,
    type_: str | None,
    format_: str | None,
    url: str | None,
    sha256: str | None,
    registry: str | None,
) -> int:
    """Add an image: a container archive, or the disk of a VM.

    FILE is what `docker save` writes, or a qcow2 or raw disk. It is checked and uploaded; what the server has already is not sent again, and an upload that
    broke off goes on where it was. Instead of FILE, the server can fetch it: --url, --registry.

    \b
    Examples:
      iaasctl img add nginx nginx.tar
      iaasctl img add debian debian-12-nocloud-amd64.qcow2
      iaasctl img add disk disk.bin --format raw
      iaasctl img add debian --url https://HOST/debian-12.qcow2 --sha256 HEX
    """
    shown = progress()
    with on_interrupt("nothing was added", GO_ON):
        try:
            image = client.add_image(
                name,
                file,
                type_,
                format_,
                url=url,
                sha256=sha256,
                registry=registry,
                progress=shown.transfer,
            )
        finally:
            shown.close()
    note(f"image/{views.name_of(image)} {views.state(image)}: {views.shown(image.get('format'))}")
    return Exit.OK


command.add_command(
    removal(
        IMAGE,
        "NAME...",
        lambda client, image: client.remove_image(str(image.get("name"))),
        """Remove images that no machine uses.

        \b
        Example:
          iaasctl img rm nginx
        """,
    )
)
command.add_command(
    listing(
        IMAGE,
        """List images, or those with these values.

        \b
        Examples:
          iaasctl img ls
          iaasctl img ls type=docker -o wide
        """,
    )
)
