"""`ocibuild rm PLACE`"""

from __future__ import annotations

from typing import Any

import click

from ocibuild.api.removing import Removed, remove
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb


@verb("rm")
@click.argument("place")
@click.option("--manifest", is_flag=True, help="Remove the manifest that a tag points at, with all of its tags.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@registry_options
@json_option
def rm_command(place: str, manifest: bool, dry_run: bool, as_json: bool, quiet: bool, **reach: Any) -> None:
    """Remove what PLACE names from a registry or a layout, and no more than that.

    NAME:TAG removes the tag, and the manifest stays. NAME@sha256:… removes that manifest, and with it every tag that
    points at it. NAME:TAG@sha256:… removes the tag as long as it is that digest. Where a registry cannot delete a tag
    alone, nothing is removed.
    """
    with session(host_of(place), quiet=quiet, **reach) as current:
        done = remove(place, manifest=manifest, dry_run=dry_run, session=current)
    if as_json:
        show.result_json(
            {
                "place": done.place,
                "digest": done.descriptor.digest,
                "tag": done.tag,
                "manifest": done.manifest,
                "tags": list(done.tags),
                "allTags": done.all_tags,
                "referrers": done.referrers,
                "dryRun": dry_run,
            }
        )
        return
    if done.manifest and not quiet:
        _tell(done, dry_run)
    show.result(f"{done.place}@{done.descriptor.digest}" if done.manifest else f"{done.place}:{done.tag}")


def _tell(done: Removed, dry_run: bool) -> None:
    goes = "would go" if dry_run else "went"
    others = [name for name in done.tags if name != done.tag]
    if others:
        show.note(f"with it {goes} {'the tags' if len(others) > 1 else 'the tag'} {', '.join(others)}")
    if not done.all_tags:
        show.note(f"more tags may have pointed at it: not all could be looked at before it {goes}")
    if done.referrers:
        show.note(f"what refers to it stays: {done.referrers} (ocibuild referrers lists them)")
