"""`ocibuild diff A B`"""

from __future__ import annotations

import sys
from typing import Any

import click

from ocibuild.api.diff import diff
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb
from ocibuild.errors import FindingsError


@verb("diff")
@click.argument("a")
@click.argument("b")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="The entry of both indexes to compare.")
@registry_options
@json_option
def diff_command(a: str, b: str, platform: str | None, as_json: bool, quiet: bool, **reach: Any) -> None:
    """Compare two images, from their media types down to the bytes of their files.

    The exit status is 0 where they are the same, and 3 where they differ.
    """
    with session(host_of(a) or host_of(b), quiet=quiet, **reach) as current:
        found = diff(a, b, platform=platform, session=current)
    if as_json:
        show.result_json([{"where": each.where, "old": each.old, "new": each.new} for each in found])
    else:
        for each in found:
            show.result(show.plain(str(each)))
    if found:
        sys.exit(FindingsError.exit_status)
