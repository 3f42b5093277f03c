"""`ocibuild copy SOURCE DESTINATION`"""

from __future__ import annotations

import sys
from typing import Any

import click

from ocibuild.api import places, transfer
from ocibuild.cli.account import metadata_option, report
from ocibuild.cli.common import chunk_option, json_option, referrers_option, registry_options, session
from ocibuild.cli.verbs import verb


def host_of(text: str, *, writing: bool = False) -> str | None:
    """The registry a place names, if it names one."""
    place = places.parse(text, writing=writing)
    return place.reference.registry if place.reference is not None else None


@verb("copy")
@click.argument("source")
@click.argument("destination")
@click.option("-f", "--format", metavar="SHAPE", help="Convert to this shape; `ocibuild formats` lists them.")
@click.option("--for", "consumer", metavar="NAME", help="Convert to the shape that NAME runs.")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Take one image out of an index.")
@click.option("--name", metavar="PATH", help="The program's path in the converted image.")
@click.option("--subject", is_flag=True, help="Link the converted image to the original, which goes along.")
@referrers_option
@metadata_option
@registry_options
@chunk_option
@json_option
def copy_command(
    source: str,
    destination: str,
    format: str | None,
    consumer: str | None,
    platform: str | None,
    name: str | None,
    subject: bool,
    referrers: bool,
    metadata_file: str | None,
    as_json: bool,
    **reach: Any,
) -> None:
    """Copy an image, byte for byte; with --format or --for, convert it from one Wasm shape to another.

    Places are oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE, docker://REFERENCE; without a prefix an existing
    path is a path, anything else a reference. @sha256:… behind one picks an image inside.

    Converting leaves the program's bytes alone. What the new shape has no place for is told; files that it cannot hold
    are refused.
    """
    to_stdout = places.parse(destination, writing=True).path == "-"
    host = host_of(destination, writing=True) or host_of(source)
    out = sys.stdout.buffer if to_stdout else None
    with session(host, **reach) as current:
        if (format or consumer) and referrers:
            raise click.UsageError("--referrers are about the original; they do not go with --format or --for")
        if format or consumer:
            from ocibuild.api.convert import convert

            done = convert(
                source,
                destination,
                format=format,
                consumer=consumer,
                platform=platform,
                name=name,
                subject=subject,
                session=current,
                out=out,
            )
        elif name or subject:
            raise click.UsageError("--name and --subject go with --format or --for")
        else:
            done = transfer.copy(source, destination, platform=platform, referrers=referrers, session=current, out=out)
    report((done,), current, as_json=as_json, metadata_file=metadata_file, to_stdout=to_stdout)
