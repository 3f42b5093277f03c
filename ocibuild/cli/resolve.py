"""`ocibuild resolve -f FILE…`"""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from ocibuild.api.resolve import STDIN, resolve
from ocibuild.cli import output as show
from ocibuild.cli.account import told
from ocibuild.cli.common import chunk_option, json_option, registry_options, say, session
from ocibuild.cli.verbs import verb
from ocibuild.spec.reference import Reference


@verb("resolve")
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="YAML or JSON, a folder of such files, or - for stdin (repeatable).",
)
@click.option("-R", "--recursive", is_flag=True, help="Look into the folders below a folder too.")
@click.option(
    "--repo",
    metavar="REPOSITORY",
    help="Where images go: REPOSITORY/NAME, or as {name} and {path} in it say.  [default: OCIBUILD_REPO]",
)
@click.option("-t", "--tag", "tags", multiple=True, metavar="TAG", help="Their tag (repeatable).  [default: latest]")
@click.option("--for", "consumer", metavar="NAME", help="Who will run the Wasm ones.  [default: kubernetes]")
@click.option(
    "--platform", "platforms", multiple=True, metavar="OS/ARCH,…", help="What to build folders and build targets for."
)
@click.option("--config", metavar="FILE", help="An ocibuild.toml: ocibuild://NAME is its target of that name.")
@click.option("--dry-run", is_flag=True, help="Make the digests, and push nothing.")
@registry_options
@chunk_option
@json_option
def resolve_command(
    files: tuple[str, ...],
    recursive: bool,
    repo: str | None,
    tags: tuple[str, ...],
    consumer: str | None,
    platforms: tuple[str, ...],
    config: str | None,
    dry_run: bool,
    as_json: bool,
    **reach: Any,
) -> None:
    """Pack and push what ocibuild://PATH in Kubernetes YAML names, and print the YAML with digests in its place.

    PATH is relative to the file it stands in, and names a .wasm, a static binary, or a folder to build. Each is made
    once; all else in the files stays as it is, byte for byte. Where anything fails, nothing is printed.

    \b
    ocibuild resolve -f app.yaml --repo ghcr.io/me | kubectl apply -f -
    ocibuild resolve -f config/ -R --repo 'ghcr.io/me/{path}' -t v1
    """
    if STDIN in files and reach["password_stdin"]:
        raise click.UsageError("-f - and --password-stdin both want stdin: log in with ocibuild login first")
    stdin = sys.stdin.buffer.read() if STDIN in files else b""
    host = Reference.parse(re.sub("[{}]", "", repo)).registry if repo else None
    with session(host, **reach) as current:
        done = resolve(
            *files,
            repo=repo,
            tags=tags,
            recursive=recursive,
            dry_run=dry_run,
            config=config,
            consumer=consumer,
            platforms=platforms,
            stdin=stdin,
            session=current,
        )
        for image in done.images:
            for note in image.notes:
                say(current, f"{image.source}: {note}")
            for copied in image.copied:
                say(current, f"{image.source}: {told(copied)}")
        for note in done.notes:
            say(current, note)
    if as_json:
        images = [
            {"source": image.source, "reference": image.reference, "places": list(image.places)}
            for image in done.images
        ]
        show.result_json({"images": images})
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(done.text.encode("utf-8"))
    sys.stdout.buffer.flush()
