"""`ocibuild check FILE|PLACE`"""

from __future__ import annotations

import sys
from typing import Any

import click

from ocibuild.api.check import check
from ocibuild.api.inspecting import is_program
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.errors import FindingsError


@click.command("check", short_help="Say whether a file or image fits its consumer.")
@click.argument("what", metavar="FILE|PLACE")
@click.option("--for", "consumer", metavar="NAME", help="Who will run it; `ocibuild formats` lists them.")
@click.option("--strict", is_flag=True, help="Fail for warnings too.")
@registry_options
@json_option
def check_command(what: str, consumer: str | None, strict: bool, as_json: bool, quiet: bool, **reach: Any) -> None:
    """Look for what would keep a program or an image from running.

    The exit status is 3 where there are errors (with --strict: or warnings), else 0.
    """
    host = None if is_program(what) else host_of(what)
    with session(host, quiet=quiet, **reach) as current:
        found = check(what, consumer=consumer, session=current)
    if as_json:
        show.result_json({"what": what, "for": consumer, "findings": [each.to_json() for each in found]})
    else:
        for each in found:
            show.result(show.plain(f"{each.severity}: {each.where}: {each.message} [{each.code}]"))
            show.result(show.plain(f"  cure: {each.cure}"))
        if not found:
            show.note("nothing found")
    fatal = ("error", "warning") if strict else ("error",)
    if any(each.severity in fatal for each in found):
        sys.exit(FindingsError.exit_status)
