"""`ocibuild pack FILE…`"""

from __future__ import annotations

import sys
from typing import Any

import click

from ocibuild.cli.common import chunk_option, json_option, registry_options, session
from ocibuild.cli.making import image_options, output_options, record_options, report
from ocibuild.cli.verbs import verb
from ocibuild.pack.options import Options, about


@verb("pack")
@click.argument("files", nargs=-1, metavar="FILE[=PLATFORM]…")
@output_options
@click.option("--config", metavar="FILE", help="Read files, tags and options from ocibuild.toml; flags go over it.")
@click.option("--target", metavar="NAME", help="The target of the config file to pack.  [default: the only one]")
@record_options
@image_options(*about())
@registry_options
@chunk_option
@json_option
def pack_command(
    files: tuple[str, ...],
    tags: tuple[str, ...],
    output: str | None,
    push: bool,
    load: str | None,
    dry_run: bool,
    config: str | None,
    target: str | None,
    iidfile: str | None,
    metadata_file: str | None,
    as_json: bool,
    **said: Any,
) -> None:
    """Pack Wasm files and static binaries into one image.

    Each FILE is looked at: a Wasm module or component becomes wasi/wasm, a binary the platform it was built for. One
    file is a plain image, several are one index.

    \b
    ocibuild pack hello.wasm
    ocibuild pack hello.wasm -t localhost:5000/hello:1 --push
    ocibuild pack app.wasm app-linux-amd64 app-linux-arm64 -t ghcr.io/me/app:1 --push
    """
    from ocibuild.api.pack import asked, pack
    from ocibuild.spec.reference import Reference

    options = {name: said.pop(name) for name in about()}
    wanted = asked(config, target, files, tags, Options(**options))
    tags = wanted.tags
    host = Reference.parse(tags[0]).registry if tags else None
    with session(host, **said) as current:
        packed = pack(
            *wanted.files,
            tags=tags,
            output=output,
            push=push,
            load=load,
            dry_run=dry_run,
            options=wanted.options,
            session=current,
            out=sys.stdout.buffer if output == "-" else None,
        )
    report(packed, tags, current, iidfile, metadata_file, as_json=as_json, to_stdout=output == "-")
