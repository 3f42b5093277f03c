"""`ocibuild tag PLACE NEWTAG…`"""

from __future__ import annotations

from typing import Any

import click

from ocibuild.api.tagging import tag
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb


@verb("tag")
@click.argument("place")
@click.argument("names", nargs=-1, required=True, metavar="NEWTAG…")
@click.option("--if-absent", is_flag=True, help="Fail where a tag is there already, as something else.")
@click.option("--expect-digest", metavar="DIGEST", help="Fail where a tag is not this now.")
@registry_options
@json_option
def tag_command(
    place: str,
    names: tuple[str, ...],
    if_absent: bool,
    expect_digest: str | None,
    as_json: bool,
    quiet: bool,
    **reach: Any,
) -> None:
    """Give the image at PLACE more tags, in the same repository or layout; no content moves.

    A tag that is there already moves, unless one of the checks says otherwise. They look before they write: registries
    offer no more than that.
    """
    with session(host_of(place), quiet=quiet, **reach) as current:
        done = tag(place, *names, if_absent=if_absent, expect_digest=expect_digest, session=current)
    if as_json:
        show.result_json({"digest": done.descriptor.digest, "references": list(done.references)})
        return
    for reference in done.references:
        show.result(reference)
