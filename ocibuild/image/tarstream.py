"""The entries of a tar that a stranger wrote, one after the other, in memory that does not grow with them."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol, Self, cast

from ocibuild.content.blob import BLOCK
from ocibuild.errors import ContentError

_MAX_HEADER = 1024 * 1024
_LONG_HEADERS = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}


class Readable(Protocol):
    """All that is needed of a stream."""

    def read(self, size: int, /) -> bytes: ...


class _Info(tarfile.TarInfo):
    """Refuses headers that would be read into memory whole, before they are."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0 or info.type == tarfile.GNUTYPE_SPARSE:
            raise ContentError(
                f"the entry {info.name[:200]!r} is not readable: negative or sparse", code="layer-invalid"
            )
        if info.type in _LONG_HEADERS and info.size > _MAX_HEADER:
            raise ContentError(f"a header of {info.size} bytes", code="layer-invalid")
        return info


def entries(stream: Readable) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """Each entry, with the archive to extract its content from before the next.

    Raises ContentError (`layer-invalid`), and what `is_damage` knows.
    """
    with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|", bufsize=BLOCK, tarinfo=_Info) as archive:
        while (info := archive.next()) is not None:
            # tarfile keeps every entry, with a copy of the global header each: a bomb of its own.
            archive.members = []  # type: ignore[attr-defined]
            yield info, archive


def is_damage(error: Exception) -> bool:
    """True for what tarfile and the decompressors raise for bytes that are no such tar; False for an error of the disk."""
    if isinstance(error, OSError):
        return error.errno is None  # gzip's own complaints have no number
    kinds = (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError)
    # zstandard is imported only where a layer needs it
    return isinstance(error, kinds) or type(error).__name__ == "ZstdError"
