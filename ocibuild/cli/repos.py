"""`ocibuild repos REGISTRY`"""

from __future__ import annotations

from typing import Any

import click

from ocibuild.api.listing import repositories
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb


@verb("repos")
@click.argument("registry")
@click.option("--prefix", default="", metavar="TEXT", help="Only those whose names begin with this.")
@registry_options
@json_option
def repos_command(registry: str, prefix: str, as_json: bool, quiet: bool, **reach: Any) -> None:
    """List the repositories that a registry shows to who is asking; many public registries have no such list."""
    with session(host_of(f"docker://{registry}/all"), quiet=quiet, **reach) as current:
        found = repositories(registry, prefix=prefix, session=current)
    if as_json:
        show.result_json({"registry": registry, "repositories": list(found)})
        return
    for name in found:
        show.result(name)
