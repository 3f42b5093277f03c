"""`ocibuild attach FILE… --type TYPE --to PLACE`"""

from __future__ import annotations

from typing import Any

import click

from ocibuild.api.attaching import attach
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb
from ocibuild.errors import UsageError


@verb("attach")
@click.argument("files", nargs=-1, metavar="FILE[:MEDIA/TYPE]…")
@click.option("--to", required=True, metavar="PLACE", help="The image, in a registry or a layout.")
@click.option("--type", "artifact_type", required=True, metavar="MEDIA/TYPE", help="What it is: application/spdx+json.")
@click.option("--annotation", multiple=True, metavar="KEY=VALUE", help="An annotation of the artifact; repeatable.")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Attach to this entry of an index, not to the index.")
@click.option("--created", metavar="TIME", help="RFC 3339 or seconds.  [default: SOURCE_DATE_EPOCH, or no time]")
@registry_options
@json_option
def attach_command(
    files: tuple[str, ...],
    to: str,
    artifact_type: str,
    annotation: tuple[str, ...],
    platform: str | None,
    created: str | None,
    as_json: bool,
    quiet: bool,
    **reach: Any,
) -> None:
    """Attach files to an image: an SBOM, a signature, a report. The image and its digest stay as they are.

    The files become an artifact whose subject is the image; the artifact's name is printed. A file's media type is the
    artifact's, unless it is said behind the file.

    \b
    ocibuild attach sbom.spdx.json --type application/spdx+json --to localhost:5000/hello:1
    """
    pairs = [text.partition("=") for text in annotation]
    for text, (key, equals, _) in zip(annotation, pairs, strict=True):
        if not equals or not key:
            raise UsageError(
                f"--annotation {text!r} is not KEY=VALUE", code="pair-invalid", hint="write --annotation KEY=VALUE"
            )
    notes = {key: value for key, _, value in pairs}
    with session(host_of(to), quiet=quiet, **reach) as current:
        done = attach(
            *files,
            to=to,
            artifact_type=artifact_type,
            annotations=notes,
            platform=platform,
            created=created,
            session=current,
        )
    if as_json:
        document = {"reference": done.reference, "descriptor": done.descriptor.bare.to_json()}
        show.result_json({**document, "subject": done.subject.to_json(), "bytes": done.copied.bytes_written})
        return
    show.result(done.reference)
