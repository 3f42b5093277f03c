"""`extract`: the program back out of an image of any shape, byte for byte."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Protocol

from ocibuild.api import places
from ocibuild.api.picking import pick
from ocibuild.api.session import Session
from ocibuild.content import atomic
from ocibuild.content.blob import BLOCK
from ocibuild.errors import UsageError
from ocibuild.image.shapes.recognise import Program, find_program, recognise
from ocibuild.record import record
from ocibuild.spec.digest import Digest

_WASM = b"\0asm"


class _Out(Protocol):
    def write(self, data: bytes, /) -> object: ...


@record
class Extracted:
    """`path` is the file written, None where the bytes went to a stream; `digest` is of the program's bytes."""

    path: str | None
    size: int
    digest: Digest
    shape: str


def extract(
    place: str,
    output: str | None = None,
    *,
    platform: str | None = None,
    out: BinaryIO | None = None,
    session: Session | None = None,
) -> Extracted:
    """Write the program of an image to `output`, or to `out`; without either, to its own name in the current folder.

    Of an index, the entry for `platform`, the only one, or the only Wasm one is taken. A native program becomes
    executable. The file appears whole or not at all. Raises ContentError (`program-missing`, `program-ambiguous`,
    `layer-invalid`, `digest-mismatch`), UsageError (`platform-needed`, `output-exists`), NotFoundError, StoreError.
    """
    store, root = (session or Session()).begin().found(places.parse(place))
    _, manifest = pick(store, root, platform, prefer_wasm=True)
    program = find_program(store, manifest)
    shape = recognise(manifest)
    if out is not None:
        return Extracted(None, *_copied(program, out), shape)
    final = Path(output) if output is not None else _own_name(program)
    with program.open() as stream:
        head = stream.read(len(_WASM))
    with atomic.Incoming(final.parent, mode=0o644 if head == _WASM else 0o755) as incoming:
        size, digest = _copied(program, incoming)
        incoming.commit(final)
    return Extracted(str(final), size, digest, shape)


def _own_name(program: Program) -> Path:
    path = Path(program.name)
    if os.path.lexists(path):
        raise UsageError(
            f"{path} is there already", code="output-exists", hint="say where with -o FILE; a file named so is replaced"
        )
    return path


def _copied(program: Program, out: _Out) -> tuple[int, Digest]:
    size, hasher = 0, Digest.of(b"").hasher()
    with program.open() as stream:
        while piece := stream.read(BLOCK):
            hasher.update(piece)
            size += len(piece)
            out.write(piece)
    return size, Digest.from_hasher(hasher)
