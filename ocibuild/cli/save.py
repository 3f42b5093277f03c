"""`ocibuild save SOURCE -o FILE`"""

from __future__ import annotations

import sys
from typing import Any

import click

from ocibuild.api import transfer
from ocibuild.cli.common import json_option, referrers_option, registry_options, session
from ocibuild.cli.copy import host_of, report


@click.command("save", short_help="Write an image into an archive.")
@click.argument("source")
@click.option(
    "-o", "--output", required=True, metavar="PLACE", help="FILE.tar, docker-archive:FILE, oci:DIR, or - for stdout."
)
@referrers_option
@registry_options
@json_option
def save_command(source: str, output: str, referrers: bool, as_json: bool, quiet: bool, **reach: Any) -> None:
    """Write an image from anywhere into a local archive or layout."""
    with session(host_of(source), quiet=quiet, **reach) as current:
        out = sys.stdout.buffer if output == "-" else None
        done = transfer.copy(source, output, referrers=referrers, session=current, out=out)
    if output != "-":
        report((done,), as_json=as_json, quiet=quiet)
