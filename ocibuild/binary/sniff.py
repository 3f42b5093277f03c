"""Files that are neither WebAssembly nor ELF, told apart by their first bytes so that the error can say what to do."""

from __future__ import annotations

import re

from ocibuild.errors import InputError

_MACH_O = {b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe"}
_FAT = {b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf"}
_BITCODE = {b"BC\xc0\xde", b"\xde\xc0\x17\x0b"}
_ARCHIVES = (
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed"),
    (b"\xfd7zXZ\0", "xz-compressed"),
    (b"BZh", "bzip2-compressed"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"!<arch>\n", "a static library or Debian package (ar archive)"),
    (b"!<thin>\n", "a static library (thin ar archive)"),
    (b"\xed\xab\xee\xdb", "an RPM package"),
)
# White space and comments, in a form that cannot run away: each step takes what no other can.
_WAT = re.compile(rb"(?:\s+|;;[^\n]*(?:\n|\Z)|\(;(?:[^;]|;(?!\)))*;\))*\(\s*(?:module|component)\b")


def refusal(name: str, head: bytes) -> InputError:
    """The error for a file that begins with `head` (up to 512 bytes), with a code for each kind of file."""
    return _known(name, head) or _text(name, head) or _unknown(name, head)


def _known(name: str, head: bytes) -> InputError | None:
    if len(head) < 4 and (b"\0asm".startswith(head) or b"\x7fELF".startswith(head)):
        return InputError(
            f"{name} ends after {len(head)} bytes of what may have been a program",
            code="file-truncated",
            hint="build or download it again",
        )
    if head.startswith(b"#!"):
        line = head[2:].partition(b"\n")[0].strip().decode("utf-8", "replace")
        return InputError(
            f"{name} is a script for {line[:80]}",
            code="format-script",
            hint="an image from scratch has no interpreter; give a compiled program",
        )
    if head[:4] in _MACH_O or _is_fat(head):
        return InputError(
            f"{name} is a program for macOS (Mach-O)",
            code="format-macho",
            hint="build it for linux: GOOS=linux, or cargo's and zig's --target with linux in it",
        )
    if head.startswith(b"MZ"):
        return InputError(
            f"{name} is a program for Windows (PE)",
            code="format-pe",
            hint="build it for linux: GOOS=linux, or cargo's and zig's --target with linux in it",
        )
    if head[:4] in _BITCODE:
        return InputError(f"{name} is LLVM bitcode", code="format-bitcode", hint="compile and link it to a program")
    if head.startswith((b"\0aot", b"\0wasmer-universal", b"wasmer-universal")):
        return InputError(
            f"{name} is Wasm compiled ahead of time for one runtime",
            code="wasm-precompiled",
            hint="give the .wasm itself",
        )
    return _archive(name, head)


def _archive(name: str, head: bytes) -> InputError | None:
    what = next((what for magic, what in _ARCHIVES if head.startswith(magic)), None)
    if what is None and head[257:262] == b"ustar":
        what = "a tar archive"
    if what is None:
        return None
    return InputError(f"{name} is {what}", code="format-archive", hint="unpack it and give the program inside")


def _is_fat(head: bytes) -> bool:
    # Java's class files begin as fat Mach-O does; the next word is a version there (45 and up), here a count.
    return head[:4] in _FAT and len(head) >= 8 and int.from_bytes(head[4:8], "big") < 45


def _text(name: str, head: bytes) -> InputError | None:
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _WAT.match(text):
        return InputError(
            f"{name} is WebAssembly's text form (.wat)",
            code="format-wat",
            hint=f"translate it first: wasm-tools parse {name} -o {name.removesuffix('.wat')}.wasm",
        )
    if _is_text(text):
        return InputError(
            f"{name} is a text file, not a program",
            code="format-text",
            hint="give the compiled .wasm or the static binary; what stands beside a .wasm as .js is its loader",
        )
    return None


def _is_text(head: bytes) -> bool:
    if any(byte < 0x20 and byte not in b"\t\n\r\f\x1b" for byte in head):
        return False
    try:
        head[:-3].decode() if len(head) > 3 else head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 7  # the last character may be cut by the length that was read
    return True


def _unknown(name: str, head: bytes) -> InputError:
    return InputError(
        f"{name} is neither WebAssembly nor an ELF program; it begins with {head[:8].hex(' ')}",
        code="format-unknown",
        hint="give a .wasm module or component, or a static Linux binary",
    )
