"""What `pack` and `build` share: where the image goes, what is recorded of it, and what is said in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ocibuild.cli import output as show
from ocibuild.cli.account import counted, metadata, metadata_option, told, write_metadata, write_whole
from ocibuild.cli.common import Command, say
from ocibuild.pack.options import about

if TYPE_CHECKING:
    from ocibuild.api.pack import Packed
    from ocibuild.api.session import Session


def image_options(*names: str, taken: Sequence[str] = ()) -> Callable[[Command], Command]:
    """A flag for each of these fields of Options, in their order; `taken` are flags that mean something else."""

    def add(command: Command) -> Command:
        for name in reversed(names):
            entry = about()[name]
            words: dict[str, Any] = {"help": entry.help}
            if entry.form == "switch":
                words |= {"is_flag": True}
            else:
                words |= {"metavar": entry.metavar, "multiple": entry.form in ("list", "table")}
            flags = [flag for flag in entry.flags if flag not in taken]
            command = click.option(*flags, name, **words)(command)
        return command

    return add


def output_options(command: Command) -> Command:
    """`--tag --output --push --load --dry-run`."""
    options = (
        click.option("-t", "--tag", "tags", multiple=True, metavar="REFERENCE", help="Name the image (repeatable)."),
        click.option(
            "-o",
            "--output",
            metavar="PLACE",
            help="A layout folder, FILE.tar, docker-archive:FILE, or - for stdout.  [default: NAME.oci]",
        ),
        click.option("--push", is_flag=True, help="Push to every --tag."),
        click.option("--load", metavar="ENGINE", help="Load into docker, podman or containerd."),
        click.option("--dry-run", is_flag=True, help="Print what would be written, with digests."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def record_options(command: Command) -> Command:
    """`--iidfile --metadata-file`."""
    words = "Write the image's digest to a file."
    return click.option("--iidfile", metavar="FILE", help=words)(metadata_option(command))


def report(
    packed: Packed,
    tags: tuple[str, ...],
    current: Session,
    iidfile: str | None,
    metadata_file: str | None,
    *,
    as_json: bool,
    to_stdout: bool,
) -> None:
    """Files for scripts, notes on stderr, and the references alone on stdout, unless the image itself went there."""
    if iidfile:
        write_whole(iidfile, packed.digest.encode())
    if metadata_file:
        write_metadata(metadata_file, _document(packed, tags))
    for note in packed.notes:
        say(current, note)
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
    from ocibuild.spec.reference import Reference

    document: dict[str, Any] = {
        "references": list(packed.references),
        **metadata(packed.descriptor, [str(Reference.parse(tag)) for tag in tags]),
        "inputs": [
            {"path": artifact.path, "kind": artifact.kind, "size": artifact.size} for artifact in packed.artifacts
        ],
    }
    if packed.dry is not None:
        document["blobs"] = [{"digest": str(digest), "size": length} for digest, length in packed.dry.sizes.items()]
    if packed.notes:
        document["notes"] = list(packed.notes)
    if packed.copied:
        document["pushed"] = [counted(copied) for copied in packed.copied]
    return document
