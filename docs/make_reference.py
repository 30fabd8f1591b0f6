"""Writes docs/reference.md from the schemas, the routes and the command line: `make docs`.

Here: turning what the code already says into Markdown. Nothing is explained here that the code does
not say itself.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from iaasctl.main import cli
from manifests.change import EFFECTS
from manifests.codec import camel
from manifests.kinds import KINDS, schema_for
from reconciler.api.app import ROUTES
from reconciler.api.openapi import ALWAYS, WITH_BODY, WITH_JSON, WITH_TOKEN
from reconciler.api.route import operations
from reconciler.core.fields import FIELDS
from reconciler.core.query import QUERY

TARGET = Path(__file__).with_name("reference.md")
HEAD = """# Reference

Made from the code by `make docs`; do not edit.

## Manifests

Every document has `apiVersion: iaas/v1`, `kind`, `metadata` (`name`, `labels`) and `spec`. Unknown
fields are errors. `iaasctl schema KIND` prints the JSON Schema for your editor.
"""


def reference() -> str:
    return "\n".join([HEAD, *kinds(), *effects(), *routes(), *shown(), *commands()]) + "\n"


def kinds() -> Iterator[str]:
    for kind in KINDS.values():
        yield f"### {kind.name}\n\n{kind.doc}\n\n| field | value | default | meaning |\n|---|---|---|---|"
        yield from fields(schema_for(kind)["properties"]["spec"], "")
        yield ""


def fields(schema: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, item in schema["properties"].items():
        required = " (required)" if name in schema["required"] else ""
        default = f"`{item['default']}`" if "default" in item else ""
        doc = item.get("description", "").replace("|", "\\|")
        yield f"| `{prefix}{name}`{required} | {value(item)} | {default} | {doc} |"
        if "properties" in item:
            yield from fields(item, f"{prefix}{name}.")


def value(item: dict[str, Any]) -> str:
    if "enum" in item:
        return ", ".join(f"`{choice}`" for choice in item["enum"])
    if "examples" in item:
        return "such as " + ", ".join(f"`{example}`" for example in item["examples"])
    if item.get("type") == "array":
        return f"list of {value(item['items'])}"
    return str(item.get("type", ""))


def effects() -> Iterator[str]:
    yield "## What changing a field of a Machine does\n"
    yield "| field | docker | libvirt |\n|---|---|---|"
    docker, libvirt = EFFECTS.values()
    for name in docker:
        cells = (f"{effect}: {why}" for effect, why in (docker[name], libvirt[name]))
        yield f"| `{camel(name)}` | {' | '.join(cells)} |"
    yield ""


REST = """## REST

A route takes `Authorization: Bearer TOKEN` of the role named or of one above it (viewer, operator,
admin). The whole description, OpenAPI 3.1, is at `/openapi.json`. Besides the answers named, any
request can fail with {errors}, and one with a body with {bodies}.
Every error is one JSON object: `error` (a code), `message`, `field`, `hint`, `conflicts`, `faults`.

| route | role | what it does | parameters | answers |
|---|---|---|---|---|"""


def routes() -> Iterator[str]:
    yield REST.format(
        errors=", ".join(map(str, sorted([*ALWAYS, *WITH_TOKEN]))),
        bodies=", ".join(map(str, sorted([*WITH_BODY, *WITH_JSON]))),
    )
    for operation in operations(ROUTES):
        about, route = operation.about, operation.route
        taken = [item.name for item in about.parameters if item.place != "path"]
        if QUERY in taken:  # and one for each field, which are listed below
            taken = ["FIELD=VALUE", QUERY, *(name for name in taken if name[0].isupper())]
        answers = ", ".join(map(str, sorted([*about.answers, *about.errors])))
        role = f"{operation.least}, agent" if route.agent else operation.least
        yield (
            f"| `{route.method} {operation.path}` | {role} | {about.summary}"
            f" | {', '.join(taken)} | {answers} |"
        )
    yield ""


def shown() -> Iterator[str]:
    """What objects have, so what lists can be asked for."""
    for kind in KINDS.values():
        yield f"### What the API shows of {kind.plural}\n\n| field | meaning |\n|---|---|"
        for name, schema in FIELDS[kind.name].items():
            doc = schema.get("description", "as in its manifest" if name == "spec" else "")
            choices = [f"`{choice}`" for choice in schema.get("enum", ()) if choice]
            parts = [f"`{name}.{part}`" for part in schema.get("properties", ()) if name != "spec"]
            more = ", ".join(choices or parts)
            yield f"| `{name}` | {': '.join(filter(None, (doc, more)))} |"
        yield ""


def commands() -> Iterator[str]:
    yield "## Commands\n"
    context = click.Context(cli, info_name="iaasctl")
    yield f"```\n{cli.get_help(context)}\n```\n"
    yield from commands_of(cli, context)


def commands_of(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        below = click.Context(command, info_name=name, parent=context)
        yield f"### {below.command_path}\n\n```\n{command.get_help(below)}\n```\n"
        if isinstance(command, click.Group):
            yield from commands_of(command, below)


if __name__ == "__main__":
    TARGET.write_text(reference())
    sys.stdout.write(f"wrote {TARGET}\n")
