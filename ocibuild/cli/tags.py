"""`ocibuild tags REPOSITORY`"""

from __future__ import annotations

from typing import Any

import click

from ocibuild.api.listing import tags
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb


@verb("tags")
@click.argument("repository", metavar="REPOSITORY|PLACE")
@registry_options
@json_option
def tags_command(repository: str, as_json: bool, quiet: bool, **reach: Any) -> None:
    """List the tags of a repository, in the registry's order, or the names in a layout or an archive."""
    with session(host_of(repository), quiet=quiet, **reach) as current:
        found = tags(repository, session=current)
    if as_json:
        show.result_json({"repository": repository, "tags": list(found)})
        return
    for name in found:
        show.result(name)
