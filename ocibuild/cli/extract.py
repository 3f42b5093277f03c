"""`ocibuild extract PLACE -o FILE`"""

from __future__ import annotations

import sys
from typing import Any

import click

from ocibuild.api.extract import extract
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb


@verb("extract")
@click.argument("place")
@click.option("-o", "--output", metavar="FILE", help="Where to; - for stdout.  [default: its own name]")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="The entry of an index to take.")
@registry_options
@json_option
def extract_command(
    place: str, output: str | None, platform: str | None, as_json: bool, quiet: bool, **reach: Any
) -> None:
    """Write the program in the image at PLACE to a file, whatever shape the image has."""
    with session(host_of(place), quiet=quiet, **reach) as current:
        out = sys.stdout.buffer if output == "-" else None
        done = extract(place, output, platform=platform, out=out, session=current)
    if out is not None:
        out.flush()
    elif as_json:
        show.result_json({"path": done.path, "size": done.size, "digest": done.digest, "format": done.shape})
    else:
        show.result(str(done.path))
