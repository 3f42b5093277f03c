"""`ocibuild manifest`, `config`, `blob` and `digest`"""

from __future__ import annotations

import shutil
import sys
from typing import Any

import click

from ocibuild.api import raw
from ocibuild.cli import output as show
from ocibuild.cli.common import registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb
from ocibuild.content.blob import BLOCK

_platform = click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="The entry of an index to take.")


@verb("manifest")
@click.argument("place")
@_platform
@registry_options
def manifest_command(place: str, platform: str | None, quiet: bool, **reach: Any) -> None:
    """Print the manifest or index at PLACE, byte for byte."""
    with session(host_of(place), quiet=quiet, **reach) as current:
        _bytes(raw.manifest(place, platform=platform, session=current))


@verb("config")
@click.argument("place")
@_platform
@registry_options
def config_command(place: str, platform: str | None, quiet: bool, **reach: Any) -> None:
    """Print the config of the image at PLACE, byte for byte."""
    with session(host_of(place), quiet=quiet, **reach) as current:
        _bytes(raw.config(place, platform=platform, session=current))


@verb("blob")
@click.argument("place")
@click.argument("digest")
@registry_options
def blob_command(place: str, digest: str, quiet: bool, **reach: Any) -> None:
    """Print the content of DIGEST, somewhere below the image at PLACE, byte for byte."""
    with session(host_of(place), quiet=quiet, **reach) as current, raw.blob(place, digest, session=current) as stream:
        shutil.copyfileobj(stream, sys.stdout.buffer, BLOCK)
        sys.stdout.buffer.flush()


@verb("digest")
@click.argument("place")
@_platform
@registry_options
def digest_command(place: str, platform: str | None, quiet: bool, **reach: Any) -> None:
    """Print the digest of the image at PLACE."""
    with session(host_of(place), quiet=quiet, **reach) as current:
        show.result(raw.digest(place, platform=platform, session=current))


def _bytes(data: bytes) -> None:
    # The digest is of these bytes: no newline is added.
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
