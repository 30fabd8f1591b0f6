"""iaasctl schema: needs no server."""

import click

from iaasctl.errors import Exit
from iaasctl.kinds import KINDS, kind_of
from iaasctl.output import as_data
from iaasctl.table import table
from iaasctl.terminal import out


@click.command("schema")
@click.argument("word", required=False, metavar="[KIND]")
@click.option(
    "-o", "form", type=click.Choice(["json", "yaml"]), default="json", help="Form of the output."
)
def command(word: str | None, form: str) -> int:
    """Print the JSON Schema of a kind of manifest; without KIND, the kinds there are.

    Editors with YAML support (VS Code with the YAML extension, and whatever runs
    yaml-language-server: Neovim, Emacs, Helix) complete and check manifests with it. Save it, and
    name it in the first line of a manifest:

    \b
      iaasctl schema machine > machine.schema.json
      # yaml-language-server: $schema=machine.schema.json

    \b
    Examples:
      iaasctl schema
      iaasctl schema machine
      iaasctl schema node -o yaml
    """
    from manifests import kinds as declared

    if word is None:
        rows = [(kind.word, declared.KINDS[kind.name].doc) for kind in KINDS]
        out(table([("KIND", "WHAT IT IS"), *rows]))
        return Exit.OK
    out(as_data(declared.schema_for(declared.KINDS[kind_of(word).name]), form))
    return Exit.OK
