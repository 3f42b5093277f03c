"""`ocibuild man [COMMAND]`"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from ocibuild.cli import manual
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option
from ocibuild.cli.verbs import verb
from ocibuild.content import atomic
from ocibuild.errors import UsageError


@verb("man")
@click.argument("command", required=False, metavar="[COMMAND]")
@click.option("--into", metavar="DIR", help="Write all pages into a folder, as ~/.local/share/man/man1.")
@json_option
def man_command(command: str | None, into: str | None, as_json: bool) -> None:
    """Print the manual page of a command, or of ocibuild itself, in the form that man(1) reads.

    \b
    ocibuild man pack | man -l -
    ocibuild man --into ~/.local/share/man/man1
    """
    from ocibuild import ambient
    from ocibuild.cli.verbs import cli

    surroundings = ambient.read()
    epoch = surroundings.source_date_epoch()
    day = surroundings.now if epoch is None else datetime.fromtimestamp(epoch, UTC)
    pages = manual.pages(cli, day.date())
    if into is not None:
        if command is not None:
            raise UsageError("--into writes all pages", hint="leave the command out, or --into")
        atomic.make_folders(into)
        for name, text in pages.items():
            atomic.write(Path(into, name), text.encode())
        written = [str(Path(into, name)) for name in pages]
        if as_json:
            show.result_json({"pages": written})
        else:
            for path in written:
                show.result(path)
        return
    name = f"ocibuild-{command}.{manual.SECTION}" if command else f"ocibuild.{manual.SECTION}"
    if name not in pages:
        raise UsageError(f"there is no command {command!r}", hint="ocibuild --help lists them")
    if as_json:
        show.result_json({"page": name, "text": pages[name]})
    else:
        click.echo(pages[name], nl=False)
