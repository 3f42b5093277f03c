"""`ocibuild index REFERENCE… -t REFERENCE`"""

from __future__ import annotations

from typing import Any

import click

from ocibuild.api import joining
from ocibuild.cli.account import metadata_option, report
from ocibuild.cli.common import chunk_option, json_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb


@verb("index")
@click.argument("references", nargs=-1, required=True, metavar="PLACE…")
@click.option("-t", "--tag", required=True, metavar="PLACE", help="Where the index goes.")
@metadata_option
@registry_options
@chunk_option
@json_option
def index_command(
    references: tuple[str, ...], tag: str, metadata_file: str | None, as_json: bool, **reach: Any
) -> None:
    """Join images that separate jobs pushed, one a platform, under one tag."""
    with session(host_of(tag, writing=True), **reach) as current:
        done = joining.join(*references, tag=tag, session=current)
    report((done,), current, as_json=as_json, metadata_file=metadata_file)
