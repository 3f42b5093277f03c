"""The smallest programs there are, for tests: whole files as the readers see them, made here byte by byte."""

from __future__ import annotations

import struct

MODULE = b"\0asm\1\0\0\0"
"""An empty core module. WebAssembly Core Specification, 5.5.16."""

_MACHINES = {"386": 3, "ppc64le": 21, "arm": 40, "amd64": 62, "arm64": 183, "riscv64": 243, "loong64": 258}


def command(note: bytes = b"") -> bytes:
    """A core module that exports `_start`, with `note` in a custom section, so that there are many different ones."""
    return _module("_start") + _section(0, _name("note") + note)


def proxy_wasm() -> bytes:
    """A module with proxy-wasm's marker, as its SDKs make: what Istio and Envoy load."""
    return _module("proxy_abi_version_0_2_1")


def component(imports: tuple[str, ...] = (), exports: tuple[str, ...] = ()) -> bytes:
    """A component whose world has these interfaces. Component Model, Binary.md."""
    out = b"\0asm\x0d\0\1\0"
    if imports or exports:
        out += _section(7, b"\1\x42\0")  # one type: an instance without anything in it
    if imports:
        out += _section(10, bytes([len(imports)]) + b"".join(b"\0" + _name(name) + b"\5\0" for name in imports))
    if exports:
        out += _section(11, bytes([len(exports)]) + b"".join(b"\0" + _name(name) + b"\5\0\0" for name in exports))
    return out


def elf(architecture: str = "amd64", *, interpreter: bytes = b"") -> bytes:
    """An ELF executable of one segment, little-endian, static unless it names an interpreter. gABI, chapters 4 and 5."""
    wide = architecture not in ("386", "arm")
    head, entry = (64, 56) if wide else (52, 32)
    tail = interpreter + b"\0" if interpreter else b""
    offset = head + entry * (2 if tail else 1)
    segments = _segment(wide, 1, 0, offset + len(tail))
    if tail:
        segments += _segment(wide, 3, offset, len(tail))
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    flags = {"arm": 0x05000000, "ppc64le": 2}.get(architecture, 0)
    word = "Q" if wide else "I"
    header = struct.pack(
        f"<HHI{word}{word}{word}IHHHHHH",
        *(2, _MACHINES[architecture], 1, 0, head, 0, flags, head, entry, 2 if tail else 1, 0, 0, 0),
    )
    return ident + header + segments + tail


def _segment(wide: bool, kind: int, offset: int, size: int) -> bytes:
    if wide:
        return struct.pack("<IIQQQQQQ", kind, 5, offset, offset, offset, size, size, 4096)
    return struct.pack("<IIIIIIII", kind, offset, offset, offset, size, size, 5, 4096)


def _module(export: str) -> bytes:
    types, functions = _section(1, b"\1\x60\0\0"), _section(3, b"\1\0")
    exports = _section(7, b"\1" + _name(export) + b"\0\0")
    return MODULE + types + functions + exports + _section(10, b"\1\2\0\x0b")


def _section(code: int, body: bytes) -> bytes:
    return bytes([code]) + _leb(len(body)) + body


def _name(text: str) -> bytes:
    return _leb(len(text.encode())) + text.encode()


def _leb(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
