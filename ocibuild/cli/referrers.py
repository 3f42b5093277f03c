"""`ocibuild referrers PLACE`"""

from __future__ import annotations

from typing import Any

import click

from ocibuild.api.attaching import referrers
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb


@verb("referrers")
@click.argument("place")
@click.option("--artifact-type", metavar="TYPE", help="Only those of this type.")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="The entry of an index to ask for.")
@registry_options
@json_option
def referrers_command(
    place: str, artifact_type: str | None, platform: str | None, as_json: bool, quiet: bool, **reach: Any
) -> None:
    """List the manifests whose subject is the image at PLACE: digest, artifact type, size."""
    with session(host_of(place), quiet=quiet, **reach) as current:
        found = referrers(place, artifact_type=artifact_type, platform=platform, session=current)
    if as_json:
        show.result_json({"place": place, "referrers": [entry.to_json() for entry in found]})
        return
    for entry in found:
        show.result(show.plain(f"{entry.digest}  {entry.artifact_type or '-'}  {show.size(entry.size)}"))
