"""`ocibuild save SOURCE -o FILE`"""

from __future__ import annotations

import sys
from typing import Any

import click

from ocibuild.api import transfer
from ocibuild.cli.account import metadata_option, report
from ocibuild.cli.common import json_option, referrers_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb


@verb("save")
@click.argument("source")
@click.option(
    "-o", "--output", required=True, metavar="PLACE", help="FILE.tar, docker-archive:FILE, oci:DIR, or - for stdout."
)
@referrers_option
@metadata_option
@registry_options
@json_option
def save_command(
    source: str, output: str, referrers: bool, metadata_file: str | None, as_json: bool, **reach: Any
) -> None:
    """Write an image from anywhere into a local archive or layout."""
    to_stdout = output == "-"
    with session(host_of(source), **reach) as current:
        out = sys.stdout.buffer if to_stdout else None
        done = transfer.copy(source, output, referrers=referrers, session=current, out=out)
    report((done,), current, as_json=as_json, metadata_file=metadata_file, to_stdout=to_stdout)
