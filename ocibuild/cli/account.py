"""What push, copy, pull and their like say when they are done: to a person, to a script, and to a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ocibuild.cli import output as show
from ocibuild.cli.common import Command, say

if TYPE_CHECKING:
    from ocibuild.api.session import Session
    from ocibuild.api.transfer import Transferred
    from ocibuild.spec.descriptor import Descriptor
    from ocibuild.store.copy import Copied


def metadata_option(command: Command) -> Command:
    """`--metadata-file`."""
    words = "Write what was made to a file, as JSON with buildx's keys."
    return click.option("--metadata-file", metavar="FILE", help=words)(command)


def metadata(descriptor: Descriptor, names: Iterable[str]) -> dict[str, Any]:
    """What docker buildx writes about an image: its digest, its descriptor, and the names it went to."""
    return {
        "containerimage.digest": str(descriptor.digest),
        "containerimage.descriptor": descriptor.to_json(),
        "image.name": ",".join(names),
    }


def write_metadata(path: str, document: dict[str, Any]) -> None:
    """Put it into the file, whole or not at all. Raises StoreError."""
    write_whole(path, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")


def write_whole(path: str, data: bytes) -> None:
    """Put `data` into the file, whole or not at all. Raises StoreError."""
    from pathlib import Path

    from ocibuild.content import atomic

    atomic.write(Path(path), data)


def counted(copied: Copied) -> dict[str, int]:
    """For scripts."""
    return {
        "bytes": copied.bytes_written,
        "written": len(copied.written),
        "existed": len(copied.existed),
        "mounted": len(copied.mounted),
    }


def told(copied: Copied, verb: str = "uploaded") -> str:
    """For a person: `uploaded 3.1 MiB (2 blobs), 40 B (1 blob) already there`."""
    parts = [f"{verb} {_much(copied.written)}"]
    parts += [f"{_much(copied.existed)} already there"] if copied.existed else []
    parts += [f"{_much(copied.mounted)} mounted"] if copied.mounted else []
    parts += [_count(len(copied.referrers), "referrer")] if copied.referrers else []
    return ", ".join(parts)


def _much(descriptors: Sequence[Descriptor]) -> str:
    size = show.size(sum(descriptor.size for descriptor in descriptors))
    return f"{size} ({_count(len(descriptors), 'blob')})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def report(
    done: tuple[Transferred, ...],
    current: Session,
    *,
    as_json: bool,
    metadata_file: str | None = None,
    verb: str = "copied",
    to_stdout: bool = False,
) -> None:
    """The account on stderr, the references alone on stdout, unless the image itself went there."""
    if metadata_file:
        names = [one.name for one in done if one.name]
        write_metadata(metadata_file, metadata(done[0].descriptor.bare, names))
    for one in done:
        for text in (*one.notes, told(one.copied, verb)):
            say(current, text)
        if not as_json and not to_stdout:
            show.result(one.reference)
    if as_json and not to_stdout:
        show.result_json([_document(one) for one in done] if len(done) != 1 else _document(done[0]))


def _document(done: Transferred) -> dict[str, Any]:
    notes = {"notes": list(done.notes)} if done.notes else {}
    return {
        "reference": done.reference,
        "descriptor": done.descriptor.bare.to_json(),
        **counted(done.copied),
        "referrers": [entry.to_json() for entry in done.copied.referrers],
        **notes,
    }
