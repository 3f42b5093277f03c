"""Compressors whose output depends on the bytes, the level and the compressor's version alone.

A codec says from the total alone how the input is cut, and encodes each block into one whole gzip member or zstd
frame; so neither the number of threads nor the sizes of reads can change the result. libdeflate and zstandard write
the same bytes on every architecture tried; the standard library's zlib depends on the system's.
RFC 1952 section 2.2 (members), RFC 8878 section 3 (frames).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

from ocibuild.errors import UsageError
from ocibuild.record import record
from ocibuild.spec import mediatype

MEMBER = 1024 * 1024
"""Bytes of input in one gzip member or zstd frame of a large layer."""

SINGLE_LIMIT = 8 * 1024 * 1024
"""Up to this many bytes a gzip layer is a single member, which every reader there is reads."""


class Codec(Protocol):
    """Pure: the same block gives the same bytes, whoever asks."""

    @property
    def name(self) -> str:
        """As `--compression` takes it: gzip:1, gzip-single:1, zstd:3, none."""

    @property
    def media_type(self) -> str:
        """The OCI tar layer's."""

    @property
    def identity(self) -> str:
        """Compressor, version and level: what must be equal for bytes to be."""

    def block(self, total: int) -> int:
        """Bytes of one block, from the total alone."""

    def encode(self, data: bytes | bytearray | memoryview) -> bytes | bytearray:
        """One whole member or frame; the bytes themselves where nothing is compressed."""


@record
class Plain:
    """No compression."""

    name: str = "none"
    media_type: str = mediatype.LAYER
    identity: str = "none"

    def block(self, total: int) -> int:
        """As much as is moved at a time."""
        return MEMBER

    def encode(self, data: bytes | bytearray | memoryview) -> bytes:
        """The data."""
        return bytes(data)


@record
class Gzip:
    """libdeflate, levels 1 to 12. `single` writes one member whatever the size, and holds the layer in memory for it."""

    level: int = 1
    single: bool = False
    media_type: str = mediatype.LAYER_GZIP

    @property
    def name(self) -> str:
        """gzip:LEVEL or gzip-single:LEVEL."""
        return f"{'gzip-single' if self.single else 'gzip'}:{self.level}"

    @property
    def identity(self) -> str:
        """For example `libdeflate via deflate 0.9.0, level 1`."""
        import deflate

        return f"libdeflate via deflate {deflate.__version__}, level {self.level}"

    def block(self, total: int) -> int:
        """The whole up to SINGLE_LIMIT, else MEMBER."""
        return max(total, 1) if self.single or total <= SINGLE_LIMIT else MEMBER

    def encode(self, data: bytes | bytearray | memoryview) -> bytes | bytearray:
        """One gzip member: no name, no time, operating system unknown."""
        import deflate

        return deflate.gzip_compress(data, self.level)


@record
class Zstd:
    """zstandard, levels 1 to 22, frames of MEMBER bytes that carry their size and a checksum."""

    level: int = 2
    media_type: str = mediatype.LAYER_ZSTD

    @property
    def name(self) -> str:
        """zstd:LEVEL."""
        return f"zstd:{self.level}"

    @property
    def identity(self) -> str:
        """For example `zstd 1.5.7, level 3`."""
        import zstandard

        return f"zstd {'.'.join(map(str, zstandard.ZSTD_VERSION))}, level {self.level}"

    def block(self, total: int) -> int:
        """MEMBER."""
        return MEMBER

    def encode(self, data: bytes | bytearray | memoryview) -> bytes:
        """One zstd frame."""
        import zstandard

        # A compressor serves one thread at a time; making one costs microseconds beside a block of a MiB.
        compressor = zstandard.ZstdCompressor(level=self.level, write_checksum=True, write_content_size=True)
        return compressor.compress(data)


DEFAULT = Gzip()
_LEVELS: dict[str, tuple[int, int, int]] = {"gzip": (1, 1, 12), "gzip-single": (1, 1, 12), "zstd": (2, 1, 22)}


@lru_cache(maxsize=64)
def parse(text: str) -> Codec:
    """Read `gzip[:N]`, `gzip-single[:N]`, `zstd[:N]` or `none`. Raises UsageError (`compression-invalid`)."""
    if text == "none":
        return Plain()
    name, colon, level_text = text.partition(":")
    known = _LEVELS.get(name)
    if known is None:
        raise UsageError(
            f"compression {text!r} is not known",
            code="compression-invalid",
            hint="choose gzip[:1-12], gzip-single[:1-12], zstd[:1-22] or none",
        )
    default, lowest, highest = known
    level = default
    if colon:
        is_number = level_text.isascii() and level_text.isdigit() and len(level_text) < 3
        if not is_number or not lowest <= int(level_text) <= highest:
            raise UsageError(
                f"{name} has levels {lowest} to {highest}, not {level_text!r}",
                code="compression-invalid",
                hint=f"write {name}:{default} or leave the level out",
            )
        level = int(level_text)
    return Zstd(level) if name == "zstd" else Gzip(level, single=name == "gzip-single")


def decompressed(stream: Any, compression: str, what: str) -> Any:
    """A reader of what `stream` holds, `none`, `gzip` or `zstd` compressed, all members and frames of it."""
    if compression == "gzip":
        import gzip

        return gzip.GzipFile(fileobj=stream, mode="rb")
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True, closefd=False)
    if compression == "none":
        return stream
    raise UsageError(f"{what} is compressed with {compression}, which is not read", code="compression-invalid")
