"""`ocibuild copy SOURCE DESTINATION`"""

from __future__ import annotations

import sys
from typing import Any

import click

from ocibuild.api import places, transfer
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, referrers_option, registry_options, session


def report(done: tuple[transfer.Transferred, ...], *, as_json: bool, quiet: bool) -> None:
    """What push, copy and save say at their end."""
    if as_json:
        show.result_json([_document(one) for one in done] if len(done) != 1 else _document(done[0]))
        return
    for one in done:
        if not quiet:
            show.note(
                f"copied {show.size(one.copied.bytes_written)} in {len(one.copied.written)}, "
                f"{len(one.copied.existed)} already there, {len(one.copied.mounted)} mounted"
                + (f", {len(one.copied.referrers)} referrers" if one.copied.referrers else "")
            )
        show.result(one.reference)


def _document(done: transfer.Transferred) -> dict[str, Any]:
    return {
        "reference": done.reference,
        "descriptor": done.descriptor.bare.to_json(),
        "bytes": done.copied.bytes_written,
        "written": len(done.copied.written),
        "existed": len(done.copied.existed),
        "mounted": len(done.copied.mounted),
        "referrers": [entry.to_json() for entry in done.copied.referrers],
    }


def host_of(text: str, *, writing: bool = False) -> str | None:
    """The registry a place names, if it names one."""
    place = places.parse(text, writing=writing)
    return place.reference.registry if place.reference is not None else None


@click.command("copy", short_help="Copy an image between any two places.")
@click.argument("source")
@click.argument("destination")
@referrers_option
@registry_options
@json_option
def copy_command(source: str, destination: str, referrers: bool, as_json: bool, quiet: bool, **reach: Any) -> None:
    """Copy an image, byte for byte.

    Places are oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE, docker://REFERENCE; without a prefix an existing
    path is a path, anything else a reference. @sha256:… behind one picks an image inside.
    """
    to_stdout = places.parse(destination, writing=True).path == "-"
    host = host_of(destination, writing=True) or host_of(source)
    with session(host, quiet=quiet, **reach) as current:
        out = sys.stdout.buffer if to_stdout else None
        done = transfer.copy(source, destination, referrers=referrers, session=current, out=out)
    if not to_stdout:
        report((done,), as_json=as_json, quiet=quiet)
