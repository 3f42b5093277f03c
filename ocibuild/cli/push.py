"""`ocibuild push SOURCE REFERENCE…`"""

from __future__ import annotations

from typing import Any

import click

from ocibuild.api import transfer
from ocibuild.cli.account import metadata_option, report
from ocibuild.cli.common import chunk_option, json_option, referrers_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb


@verb("push")
@click.argument("source")
@click.argument("references", nargs=-1, required=True, metavar="REFERENCE…")
@referrers_option
@metadata_option
@registry_options
@chunk_option
@json_option
def push_command(
    source: str, references: tuple[str, ...], referrers: bool, metadata_file: str | None, as_json: bool, **reach: Any
) -> None:
    """Push a layout or an archive to one or more registry references."""
    with session(host_of(f"docker://{references[0]}"), **reach) as current:
        done = transfer.push(source, *references, referrers=referrers, session=current)
    report(done, current, as_json=as_json, metadata_file=metadata_file, verb="uploaded")
