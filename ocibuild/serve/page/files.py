"""The entries of a tar layer, streamed within bounds: a page must cost the same whatever a layer claims to be.

Nothing is unpacked anywhere. Reading stops, and says why, at so many bytes unpacked, entries or seconds, so neither a
decompression bomb nor a layer of a million files holds a worker for long. OCI image-spec, layer.md.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

from ocibuild.binary import elf, wasm
from ocibuild.content import codec
from ocibuild.content.blob import BLOCK
from ocibuild.errors import ContentError
from ocibuild.image.merging import OPAQUE, WHITEOUT
from ocibuild.image.rootfs import Member, member
from ocibuild.image.tarstream import entries, is_damage
from ocibuild.record import record
from ocibuild.serve.page import program
from ocibuild.serve.page.program import Program
from ocibuild.spec import mediatype

_MAX_PROGRAM = 32 * 1024 * 1024
_MAX_PROGRAMS = 4
_MAX_PATH = 4096


@record
class Bounds:
    """Of one reading of a layer: bytes unpacked, entries passed, seconds."""

    unpacked: int = 256 * 1024 * 1024
    entries: int = 20_000
    seconds: float = 3.0


@record
class File:
    """An entry as it stands in the layer. `path` begins with a slash; `removes` is what a whiteout takes away."""

    path: str
    kind: str
    mode: str
    owner: str
    size: int
    mtime: int
    target: str = ""
    removes: str = ""
    is_unsafe: bool = False


@record
class Listing:
    """`files` are those from `start` on; `more` says that there are others behind them, `total` how many entries the layer
    has and `unpacked` its size in bytes where it was read to its end. `stopped` says in words why it was not; `is_late` that it
    was for want of time, so that another reading may come further.
    """

    start: int
    files: tuple[File, ...] = ()
    more: bool = False
    total: int | None = None
    unpacked: int = 0
    stopped: str = ""
    is_late: bool = False
    programs: tuple[Program, ...] = ()


class _Stop(Exception):
    """A bound was reached."""


class _Late(_Stop):
    """The time is over."""


class _Counted:
    """The tar as it is unpacked, within bounds."""

    def __init__(self, stream: Any, bounds: Bounds) -> None:
        self._stream = stream
        self._bounds = bounds
        self._ends = monotonic() + bounds.seconds
        self.count = 0

    def read(self, size: int) -> bytes:
        self.check()
        data: bytes = self._stream.read(min(size, BLOCK))
        self.count += len(data)
        if self.count > self._bounds.unpacked:
            raise _Stop(f"it unpacks to more than {self._bounds.unpacked // 1024**2} MiB")
        return data

    def check(self) -> None:
        if monotonic() > self._ends:
            raise _Late(f"reading it takes longer than {self._bounds.seconds:g} seconds")


def look(
    path: Path,
    media_type: str,
    *,
    wanted: frozenset[str] = frozenset(),
    start: int = 0,
    most: int = 200,
    bounds: Bounds | None = None,
) -> Listing:
    """Read the layer at `path` from its beginning: up to `most` entries from number `start` on, and the programs in it.

    Programs are the Wasm files, and the native ones among the paths `wanted`. Nothing is raised: what a layer cannot be read
    for is said in `stopped`.
    """
    bounds = bounds or Bounds()
    found: list[File] = []
    programs: list[Program] = []
    counted: _Counted | None = None
    position, more, stopped, is_late = 0, False, "", False
    try:
        with open(path, "rb") as raw:
            counted = _Counted(_opened(raw, media_type), bounds)
            for info, archive in entries(counted):
                counted.check()
                if position >= bounds.entries:
                    raise _Stop(f"it has more than {bounds.entries:,} entries")
                if start <= position < start + most:
                    found.append(_file(info))
                more = more or position >= start + most
                position += 1
                if len(programs) < _MAX_PROGRAMS and (one := _program(info, archive, wanted)):
                    programs.append(one)
            while counted.read(BLOCK):
                pass
    except _Stop as stop:
        stopped, is_late = str(stop), isinstance(stop, _Late)
    except FileNotFoundError:
        stopped = "it is not here"
    except Exception as error:
        if not (isinstance(error, ContentError) or is_damage(error)):
            raise
        stopped = f"it is damaged, or not the {media_type} it is said to be"
    total = position if not stopped else None
    unpacked = counted.count if counted is not None else 0
    return Listing(start, tuple(found), more, total, unpacked, stopped, is_late, tuple(programs))


def _opened(raw: BinaryIO, media_type: str) -> Any:
    compression = mediatype.tar_compression(media_type)
    if compression is None:
        raise ContentError(f"a {media_type} is no tar", code="layer-invalid")
    return codec.decompressed(raw, compression, str(raw.name))


def _file(info: tarfile.TarInfo) -> File:
    known = member(info)
    if known is None:
        return File(
            info.name[:_MAX_PATH],
            "file",
            _mode(info.mode),
            f"{info.uid}:{info.gid}",
            info.size,
            _time(info),
            is_unsafe=True,
        )
    return File(
        path=f"/{known.path}"[:_MAX_PATH],
        kind=known.kind,
        mode=_mode(known.mode),
        owner=f"{known.uid}:{known.gid}",
        size=known.size,
        mtime=_time(info),
        target=known.target[:_MAX_PATH],
        removes=_removed(known)[:_MAX_PATH],
    )


def _mode(mode: int) -> str:
    return f"{mode & 0o7777:04o}"


def _time(info: tarfile.TarInfo) -> int:
    try:
        return int(info.mtime)
    except (OverflowError, ValueError):  # PAX may say `inf` and `nan`
        return 0


def _removed(known: Member) -> str:
    folder, _, name = known.path.rpartition("/")
    if name == OPAQUE:
        return f"/{folder}/*" if folder else "/*"
    if name.startswith(WHITEOUT):
        gone = name.removeprefix(WHITEOUT)
        return f"/{folder}/{gone}" if folder else f"/{gone}"
    return ""


def _program(info: tarfile.TarInfo, archive: tarfile.TarFile, wanted: frozenset[str]) -> Program | None:
    if not info.isreg() or info.size < 8:
        return None
    path = "/" + info.name.lstrip("./")
    is_wanted = path in wanted
    stream = archive.extractfile(info)
    assert stream is not None
    head = stream.read(4)
    if head != wasm.MAGIC and not (is_wanted and head == elf.MAGIC):
        return None
    if info.size > _MAX_PROGRAM:
        return Program(
            path, info.size, problem=f"a program of more than {_MAX_PROGRAM // 1024**2} MiB is not looked into"
        )
    # In pieces, into memory that is there already: tarfile's own reading of the whole holds it three times.
    data = memoryview(bytearray(info.size))
    data[:4], at = head, 4
    while piece := stream.read(BLOCK):
        data[at : at + len(piece)] = piece
        at += len(piece)
    return program.read_held(data, path, is_entry=is_wanted)
