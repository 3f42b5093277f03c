"""The reference pages that are made from the source, so that they cannot say anything else."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from pathlib import Path

import click

from ocibuild.cli.verbs import cli
from ocibuild.pack import configschema

ROOT = Path(__file__).resolve().parent.parent

_INTRO = """# Command line

Made by `scripts/docs` from the commands themselves. The result of a command stands alone on stdout; everything else
goes to stderr. Exit status: 0 done, 1 failed, 2 wrong usage, 3 findings, 4 not authorised, 5 network, 130 Ctrl-C; the
codes of errors are in [errors.md](errors.md).

Before the verb: `--debug` shows where an error came from, `--version` prints the version, `-h` and `--help` explain.
"""


_ORAS = """# oras-py and ocibuild

Made by `scripts/docs` from `tests/registry/test_defects.py`. The registry client is an `oras.provider.Registry`: code
written for oras accepts it, and what oras does right is inherited. What oras 0.2.43 does otherwise is in this table, each
with the test that shows both. S is security, C corruption or failure, R robustness, P performance, U usability.

| | | oras 0.2.43 | ocibuild | test |
|---|---|---|---|---|"""


def pages() -> dict[str, str]:
    """Every page, by its path in the checkout."""
    schema = json.dumps(configschema.document(), indent=2, ensure_ascii=False)
    made = {"docs/cli.md": command_line(), "docs/oras.md": defects()}
    return {**made, "schemas/ocibuild.schema.json": schema + "\n"}


def command_line() -> str:
    """The reference of every verb, as Markdown."""
    context = click.Context(cli, info_name="ocibuild", **cli.context_settings)
    verbs = [(name, cli.get_command(context, name)) for name in cli.list_commands(context)]
    return "\n".join([_INTRO, *(line for name, verb in verbs if verb for line in _verb(context, name, verb))])


def defects() -> str:
    """The table of oras's defects, out of the docstrings of their tests."""
    tests = ast.parse((ROOT / "tests" / "registry" / "test_defects.py").read_text(encoding="utf-8")).body
    return "\n".join([_ORAS, *(_defect(test) for test in tests if getattr(test, "name", "").startswith("test_d")), ""])


def _defect(test: ast.stmt) -> str:
    assert isinstance(test, ast.FunctionDef)
    theirs, _, ours = (ast.get_docstring(test) or "").partition("\n\n")
    severity, _, theirs = theirs.partition(": ")
    texts = [" ".join(text.split()).replace("|", "\\|") for text in (theirs, ours)]
    return f"| D{int(test.name[6:8])} | {severity} | {' | '.join(texts)} | `{test.name}` |"


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
