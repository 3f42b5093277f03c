"""The reference pages that are made from the source, so that they cannot say anything else."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path

import click

from ocibuild.cli import cli
from ocibuild.pack import configschema

ROOT = Path(__file__).resolve().parent.parent

_INTRO = """# Command line

Made by `scripts/docs` from the commands themselves. The result of a command stands alone on stdout; everything else
goes to stderr. Exit status: 0 done, 1 failed, 2 wrong usage, 3 findings, 4 not authorised, 5 network, 130 Ctrl-C; the
codes of errors are in [errors.md](errors.md).

Before the verb: `--debug` shows where an error came from, `--version` prints the version, `-h` and `--help` explain.
"""


def pages() -> dict[str, str]:
    """Every page, by its path in the checkout."""
    schema = json.dumps(configschema.document(), indent=2, ensure_ascii=False)
    return {"docs/cli.md": command_line(), "schemas/ocibuild.schema.json": schema + "\n"}


def command_line() -> str:
    """The reference of every verb, as Markdown."""
    context = click.Context(cli, info_name="ocibuild", **cli.context_settings)
    verbs = [(name, cli.get_command(context, name)) for name in cli.list_commands(context)]
    return "\n".join([_INTRO, *(line for name, verb in verbs if verb for line in _verb(context, name, verb))])


def _verb(parent: click.Context, name: str, verb: click.Command) -> Iterator[str]:
    context = click.Context(verb, info_name=name, parent=parent)
    yield f"## ocibuild {name}\n"
    yield f"```\nocibuild {name} {' '.join(verb.collect_usage_pieces(context))}\n```\n"
    text, *example = inspect.cleandoc(verb.help or "").split("\b\n")
    yield text.strip() + "\n"
    for block in example:
        yield f"```\n{block.strip()}\n```\n"
    records = [parameter.get_help_record(context) for parameter in verb.params if isinstance(parameter, click.Option)]
    yield "| flag | |\n|---|---|"
    for record in records:
        if record:
            yield f"| `{record[0]}` | {' '.join(record[1].split()).replace('|', chr(92) + '|')} |"
    yield ""


if __name__ == "__main__":
    for name, text in pages().items():
        (ROOT / name).write_text(text, encoding="utf-8")
