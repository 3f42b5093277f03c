"""ADD of an archive: a tar, compressed or not, becomes the files in it. What is no tar stays a file, as in BuildKit."""

from __future__ import annotations

import bz2
import lzma
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ocibuild.content import codec
from ocibuild.content.blob import BLOCK
from ocibuild.content.tar import RECORD, Entry
from ocibuild.errors import InputError
from ocibuild.source import base
from ocibuild.source.filetree import Rootfs

_FORMS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_DAMAGES = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


def opened(entry: Entry, folder: Callable[[], Path]) -> Rootfs | None:
    """The files in an archive, None for a file that is none; a compressed one is unpacked into `folder`.

    Raises InputError (`archive-add`) for a damaged archive, and what reading the file raises.
    """
    if entry.content is None or not entry.size:
        return None
    with entry.content.open() as stream:
        head = stream.read(RECORD)
    form = next((form for magic, form in _FORMS.items() if head.startswith(magic)), "none")
    if not _is_tar(entry, form):
        return None
    try:
        with (
            entry.content.open() as stream,
            tempfile.NamedTemporaryFile("wb", dir=folder(), suffix=".tar", delete=False) as out,
        ):
            reader = _unpacked(stream, form)
            while piece := reader.read(BLOCK):
                out.write(piece)
    except Exception as error:
        if not _is_damage(error):
            raise
        raise _damaged(entry, error) from error
    return base.flat(Path(out.name), entry.path, lambda error: _damaged(entry, error))


def _is_tar(entry: Entry, form: str) -> bool:
    """Whether it begins with a header of a tar's."""
    assert entry.content is not None
    try:
        with entry.content.open() as stream:
            record = _unpacked(stream, form).read(RECORD)
        tarfile.TarInfo.frombuf(record, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    except Exception as error:
        if not _is_damage(error):
            raise
        return False
    return True


def _unpacked(stream: BinaryIO, form: str) -> Any:
    if form == "bzip2":
        return bz2.BZ2File(stream)
    if form == "xz":
        return lzma.LZMAFile(stream)
    return codec.decompressed(stream, form, "an archive")


def _is_damage(error: Exception) -> bool:
    """Whether an error means that the bytes are wrong, and not that they cannot be had."""
    if isinstance(error, OSError) and error.errno is not None:
        return False
    return isinstance(error, _DAMAGES) or type(error).__name__ == "ZstdError"


def _damaged(entry: Entry, error: Exception) -> InputError:
    return InputError(
        f"ADD cannot unpack {entry.path}: {error}",
        code="archive-add",
        hint="make the archive anew, or take it as it is with COPY",
    )
