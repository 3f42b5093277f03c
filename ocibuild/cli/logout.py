"""`ocibuild logout REGISTRY`"""

from __future__ import annotations

import click

from ocibuild.api import login as accounts
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option
from ocibuild.cli.login import authfile_option
from ocibuild.cli.verbs import verb


@verb("logout")
@click.argument("registry")
@authfile_option
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of what is left.")
@json_option
def logout_command(registry: str, authfile: str | None, quiet: bool, as_json: bool) -> None:
    """Take the login for REGISTRY away from where login keeps it."""
    done = accounts.logout(registry, authfile=authfile)
    if not quiet:
        if not done.removed:
            show.note(f"there was no login for {done.registry}")
        if done.remains:
            show.note(f"warning: {done.remains} still knows {done.registry}")
    if as_json:
        show.result_json({"registry": done.registry, "removed": list(done.removed), "remains": done.remains})
    elif done.removed:
        show.result(f"logged out of {done.registry}")
