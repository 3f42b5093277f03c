"""`ocibuild pack FILE…`"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ocibuild.api.pack import Packed, pack
from ocibuild.api.session import Session
from ocibuild.cli import output as show
from ocibuild.cli.account import counted, metadata, metadata_option, told, write_metadata
from ocibuild.cli.common import chunk_option, json_option, registry_options, say, session
from ocibuild.content import atomic
from ocibuild.pack import configfile
from ocibuild.pack.options import Options, about
from ocibuild.spec.reference import Reference


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """A flag for each field of Options, in their order."""
    for name, entry in reversed(about().items()):
        words: dict[str, Any] = {"help": entry.help}
        if entry.form == "switch":
            words |= {"is_flag": True}
        else:
            words |= {"metavar": entry.metavar, "multiple": entry.form in ("list", "table")}
        command = click.option(*entry.flags, name, **words)(command)
    return command


@click.command("pack", short_help="Pack programs into one image.")
@click.argument("files", nargs=-1, metavar="FILE[=PLATFORM]…")
@click.option("-t", "--tag", "tags", multiple=True, metavar="REFERENCE", help="Name the image (repeatable).")
@click.option(
    "-o",
    "--output",
    metavar="PLACE",
    help="A layout folder, FILE.tar, docker-archive:FILE, or - for stdout.  [default: NAME.oci]",
)
@click.option("--push", is_flag=True, help="Push to every --tag.")
@click.option("--load", metavar="ENGINE", help="Load into docker, podman or containerd.")
@click.option("--dry-run", is_flag=True, help="Print what would be written, with digests.")
@click.option("--config", metavar="FILE", help="Read files, tags and options from ocibuild.toml; flags go over it.")
@click.option("--target", metavar="NAME", help="The target of the config file to pack.  [default: the only one]")
@click.option("--iidfile", metavar="FILE", help="Write the image's digest to a file.")
@metadata_option
@_options
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
    options = {name: said.pop(name) for name in about()}
    asked = configfile.asked(config, target, files, tags, Options(**options))
    tags = asked.tags
    host = Reference.parse(tags[0]).registry if tags else None
    with session(host, **said) as current:
        packed = pack(
            *asked.files,
            tags=tags,
            output=output,
            push=push,
            load=load,
            dry_run=dry_run,
            options=asked.options,
            session=current,
            out=sys.stdout.buffer if output == "-" else None,
        )
    if iidfile:
        atomic.write(Path(iidfile), packed.digest.encode())
    if metadata_file:
        write_metadata(metadata_file, _document(packed, tags))
    _report(packed, tags, current, as_json=as_json, to_stdout=output == "-")


def _report(packed: Packed, tags: tuple[str, ...], current: Session, *, as_json: bool, to_stdout: bool) -> None:
    if packed.dry is not None and not as_json:
        for digest, length in packed.dry.sizes.items():
            show.note(f"would write {digest}  {show.size(length)}")
    for copied in packed.copied:
        say(current, told(copied))
    if as_json and not to_stdout:
        show.result_json(_document(packed, tags))
    elif not to_stdout:
        for reference in packed.references:
            show.result(reference)


def _document(packed: Packed, tags: tuple[str, ...]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "references": list(packed.references),
        **metadata(packed.descriptor, [str(Reference.parse(tag)) for tag in tags]),
        "inputs": [
            {"path": artifact.path, "kind": artifact.kind, "size": artifact.size} for artifact in packed.artifacts
        ],
    }
    if packed.dry is not None:
        document["blobs"] = [{"digest": str(digest), "size": length} for digest, length in packed.dry.sizes.items()]
    if packed.copied:
        document["pushed"] = [counted(copied) for copied in packed.copied]
    return document
