"""Go's build information, as the linker leaves it in every Go program (Go's debug/buildinfo and runtime/debug).

A header of 32 bytes (magic, pointer size, flags), then since Go 1.18 two strings with a varint length each: the
version of Go, and lines of tab-separated words between two marks of 16 bytes. Before 1.18 the header holds two
addresses of Go strings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ocibuild.record import record

MAGIC = b"\xff Go buildinf:"

_MAX_TEXT = 4 * 1024 * 1024
_MARK = 16


@record
class GoBuild:
    """`version` is Go's (`go1.22.4`), `path` the main package's; `settings` are pairs (`GOARM`, `vcs.revision`…)."""

    version: str
    path: str | None = None
    module: str | None = None
    module_version: str | None = None
    settings: tuple[tuple[str, str], ...] = ()

    def setting(self, key: str) -> str | None:
        """One build setting, or None where the program does not record it."""
        return dict(self.settings).get(key)


Load = Callable[[int, int], bytes]
"""Reads (address, length) of the program's memory image; fewer bytes where the file has none."""


def read_go_build(blob: Load, start: int, length: int) -> GoBuild | None:
    """Find the build information in `length` bytes at the address `start`, or None. Damaged information is none."""
    data = blob(start, length)
    at = data.find(MAGIC)
    # The linker aligns the header to 16 bytes; the same words elsewhere are a string of a program that looks for them.
    while at >= 0 and (start + at) % 16:
        at = data.find(MAGIC, at + 1)
    if at < 0 or at + 32 > len(data):
        return None
    width, flags = data[at + 14], data[at + 15]
    if flags & 2:
        version, after = _inline(blob, start + at + 32)
        text, _ = _inline(blob, after) if version else (b"", 0)
    elif width in (4, 8):
        order: Literal["little", "big"] = "big" if flags & 1 else "little"
        version, text = (_pointed(blob, data[at + 16 + i * width :][:width], width, order) for i in (0, 1))
    else:
        return None
    return _parse(version, text) if version else None


def _inline(blob: Load, address: int) -> tuple[bytes, int]:
    length = shift = 0
    for position, byte in enumerate(blob(address, 5)):
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            begin = address + position + 1
            text = blob(begin, length) if length <= _MAX_TEXT else b""
            return (text, begin + length) if len(text) == length else (b"", 0)
    return b"", 0


def _pointed(blob: Load, pointer: bytes, width: int, order: Literal["little", "big"]) -> bytes:
    header = blob(int.from_bytes(pointer, order), 2 * width)
    length = int.from_bytes(header[width:], order)
    return blob(int.from_bytes(header[:width], order), length) if length <= _MAX_TEXT else b""


def _parse(version: bytes, text: bytes) -> GoBuild:
    # The marks are there for programs that look into their own memory.
    framed = len(text) > 2 * _MARK and text[-_MARK - 1 : -_MARK] == b"\n"
    text = text[_MARK:-_MARK] if framed else b""
    path = module = module_version = None
    settings: list[tuple[str, str]] = []
    for line in text.decode("utf-8", "replace").split("\n"):
        word, _, rest = line.partition("\t")
        if word == "path":
            path = rest
        elif word == "mod":
            module, _, others = rest.partition("\t")
            module_version = others.partition("\t")[0]
        elif word == "build":
            key, _, value = rest.partition("=")
            settings.append((_unquote(key), _unquote(value)))
    return GoBuild(version.decode("utf-8", "replace"), path, module, module_version, tuple(settings))


def _unquote(text: str) -> str:
    # Go quotes a setting with strconv.Quote where it contains what would break the line.
    if len(text) >= 2 and text[0] == text[-1] and text[0] in '"`':
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\") if text[0] == '"' else text[1:-1]
    return text
