"""`ocibuild check FILE|PLACE…`"""

from __future__ import annotations

import sys
from typing import Any

import click

from ocibuild.api.check import check
from ocibuild.api.inspecting import is_program
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb
from ocibuild.errors import FindingsError


@verb("check")
@click.argument("what", nargs=-1, required=True, metavar="FILE|PLACE…")
@click.option("--for", "consumer", metavar="NAME", help="Who will run it; `ocibuild formats` lists them.")
@click.option("--strict", is_flag=True, help="Fail for warnings too.")
@registry_options
@json_option
def check_command(
    what: tuple[str, ...], consumer: str | None, strict: bool, as_json: bool, quiet: bool, **reach: Any
) -> None:
    """Look for what would keep a program or an image from running.

    The exit status is 3 where there are errors (with --strict: or warnings), else 0.
    """
    host = next((host for one in what if not is_program(one) and (host := host_of(one)) is not None), None)
    with session(host, quiet=quiet, **reach) as current:
        looked = {one: check(one, consumer=consumer, session=current) for one in what}
    findings = [each for found in looked.values() for each in found]
    if as_json:
        documents = [
            {"what": one, "for": consumer, "findings": [each.to_json() for each in found]}
            for one, found in looked.items()
        ]
        show.result_json(documents if len(documents) != 1 else documents[0])
    else:
        for one, found in looked.items():
            for each in found:
                before = f"{one}: " if len(looked) > 1 else ""
                show.result(show.plain(f"{before}{each.severity}: {each.where}: {each.message} [{each.code}]"))
                show.result(show.plain(f"  cure: {each.cure}"))
        if not findings:
            show.note("nothing found")
    fatal = ("error", "warning") if strict else ("error",)
    if any(each.severity in fatal for each in findings):
        sys.exit(FindingsError.exit_status)
