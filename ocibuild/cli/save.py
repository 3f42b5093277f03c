"""`ocibuild save SOURCE -o FILE`"""

from __future__ import annotations

import sys
from typing import Any

import click

from ocibuild.api import transfer
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.copy import host_of, report


@click.command("save", short_help="Write an image into an archive.")
@click.argument("source")
@click.option(
    "-o", "--output", required=True, metavar="PLACE", help="FILE.tar, docker-archive:FILE, oci:DIR, or - for stdout."
)
@registry_options
@json_option
def save_command(source: str, output: str, as_json: bool, quiet: bool, **reach: Any) -> None:
    """Write an image from anywhere into a local archive or layout."""
    with session(host_of(source), quiet=quiet, **reach) as current:
        done = transfer.copy(source, output, session=current, out=sys.stdout.buffer if output == "-" else None)
    if output != "-":
        report((done,), as_json=as_json, quiet=quiet)
