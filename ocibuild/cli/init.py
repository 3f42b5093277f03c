"""`ocibuild init [DIR]`"""

from __future__ import annotations

import click

from ocibuild.cli import output as show
from ocibuild.cli.common import json_option
from ocibuild.cli.verbs import verb


@verb("init")
@click.argument("folder", metavar="[DIR]", default=".")
@click.option("--registry", metavar="PREFIX", help="Tag the images below it: ghcr.io/me.")
@click.option("--git", "from_git", is_flag=True, help="Tag them where the remote origin says that they go.")
@click.option("--print", "printing", is_flag=True, help="Print the file, and write nothing.")
@json_option
def init_command(folder: str, registry: str | None, from_git: bool, printing: bool, as_json: bool) -> None:
    """Look through a folder and write its ocibuild.toml, which `ocibuild bake` makes images of.

    It looks for sources in languages that `ocibuild build` knows, for Dockerfiles, and for .wasm files and static
    binaries that are there. A file that is there already is left alone.

    \b
    ocibuild init
    ocibuild init --registry ghcr.io/me services
    ocibuild init --print
    """
    from ocibuild.api.init import init

    begun = init(folder, registry=registry, from_git=from_git, write=not printing)
    for note in begun.notes:
        show.note(note)
    if as_json:
        document = {"path": str(begun.path), "targets": list(begun.targets), "notes": list(begun.notes)}
        show.result_json(document | ({"text": begun.text} if printing else {}))
    elif printing:
        click.echo(begun.text, nl=False)
    else:
        show.note(f"{', '.join(begun.targets)}; next: ocibuild bake --check")
        show.result(str(begun.path))
