"""`ocibuild pull REFERENCE [-o PLACE]`"""

from __future__ import annotations

import sys
from typing import Any

import click

from ocibuild.api import pull
from ocibuild.cli.account import metadata_option, report
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb


@verb("pull")
@click.argument("reference")
@click.option(
    "-o", "--output", metavar="PLACE", help="A layout folder, FILE.tar, docker-archive:FILE, or -.  [default: NAME.oci]"
)
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Take one image out of an index.  [default: all]")
@metadata_option
@registry_options
@json_option
def pull_command(
    reference: str, output: str | None, platform: str | None, metadata_file: str | None, as_json: bool, **reach: Any
) -> None:
    """Fetch an image into a layout or an archive.

    Everything is verified while it arrives; what is there already is not fetched again. `ocibuild extract` gives the
    program in an image.
    """
    to_stdout = output == "-"
    with session(host_of(f"docker://{reference.removeprefix('docker://')}"), **reach) as current:
        done = pull.pull(
            reference, output, platform=platform, session=current, out=sys.stdout.buffer if to_stdout else None
        )
    report((done,), current, as_json=as_json, metadata_file=metadata_file, verb="fetched", to_stdout=to_stdout)
