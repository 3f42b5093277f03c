"""A native program: what an ELF file's headers say. System V ABI (gABI), chapters 4 and 5; Linux's elf.h.

Read are the file header, program headers, section headers, and the few small sections that say something: the
interpreter, the dynamic section, notes, `.comment`, ARM's attributes, Go's build information. Never code or data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

from ocibuild.binary.extent import Extent
from ocibuild.binary.gobuild import GoBuild, read_go_build
from ocibuild.binary.machine import MACHINES, OS_ABIS, Target, operating_system, platform_of
from ocibuild.errors import InputError
from ocibuild.record import record
from ocibuild.spec.platform import Platform

MAGIC = b"\x7fELF"

ByteOrder = Literal["little", "big"]
Toolchain = Literal["go", "rust", "unknown"]

_EXEC, _DYN = 2, 3
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_NOTE = 1, 2, 3, 4
_SHT_NULL, _SHT_SYMTAB, _SHT_NOBITS = 0, 2, 8
_DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_FLAGS_1 = 1, 5, 14, 0x6FFFFFFB
_DF_1_PIE = 0x08000000
_PF_W = 2

_MAX_HEADERS = 0x10000
_MAX_TEXT = 4096
_MAX_SMALL_SECTION = 64 * 1024
_MAX_NEEDED = 1000
_GO_BLOB = 64 * 1024


class _Segment(NamedTuple):
    kind: int
    flags: int
    offset: int
    address: int
    size: int


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int


@record
class ElfFacts:
    """What a program's headers show.

    bits, byte_order    32 or 64; `little` or `big`
    machine, osabi      in words (`x86-64`, `sysv`); a number in words where it has none
    type                `executable`, or `shared` for position-independent ones
    interpreter         the dynamic loader (PT_INTERP), None for a static program
    needed              the shared libraries (DT_NEEDED)
    static, static_pie  no interpreter and no libraries; and position-independent with it
    stripped            there is no symbol table
    comments            what compilers and linkers left in `.comment`
    """

    platform: Platform
    bits: int
    byte_order: ByteOrder
    machine: str
    osabi: str
    type: Literal["executable", "shared"]
    interpreter: str | None
    needed: tuple[str, ...]
    static: bool
    static_pie: bool
    stripped: bool
    go: GoBuild | None = None
    comments: tuple[str, ...] = ()

    @property
    def variant(self) -> str:
        """`v5` to `v8` on arm; empty elsewhere."""
        return self.platform.variant

    @property
    def toolchain(self) -> Toolchain:
        """Whose program it is, as far as it can be told."""
        if self.go:
            return "go"
        return "rust" if any("rustc" in comment for comment in self.comments) else "unknown"


def read_elf(extent: Extent) -> ElfFacts:
    """Read a file that begins with ELF's magic, static or dynamic.

    Raises InputError: `file-truncated`, `elf-malformed`, `elf-object`, `elf-shared-library`, `elf-core`,
    `elf-machine-unknown`, `elf-os-unknown`, `wasm-precompiled`.
    """
    return _Elf(extent).facts()


class _Elf:
    def __init__(self, extent: Extent) -> None:
        self.extent = extent
        ident = extent.read_at(0, 64)
        if len(ident) < 52 or (ident[4] == 2 and len(ident) < 64):
            raise self.truncated(f"inside its header, after {len(ident)} bytes")
        if ident[7] == 200:
            raise _precompiled(extent, ident)
        if ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise self.malformed(f"class {ident[4]} and byte order {ident[5]} are not ELF's")
        self.bits = 32 * ident[4]
        self.byte_order: ByteOrder = "little" if ident[5] == 1 else "big"
        self.order = "<" if ident[5] == 1 else ">"
        self.osabi = OS_ABIS.get(ident[7], f"os-abi-{ident[7]}")
        layout = "HHIQQQIHHHHHH" if self.bits == 64 else "HHIIIIIHHHHHH"
        fields = struct.unpack_from(self.order + layout, ident, 16)
        self.type, machine, _, self.entry, self.phoff, self.shoff, flags, _ = fields[:8]
        self.phentsize, self.phnum, self.shentsize, self.shnum, self.shstrndx = fields[8:]
        self.target = Target(machine, self.bits, self.byte_order, flags)
        _refuse_type(extent.name, self.type)
        self.raw_sections = self._section_headers()
        self.segments = self._segments()

    def malformed(self, problem: str) -> InputError:
        return InputError(
            f"{self.extent.name} is a damaged ELF file: {problem}",
            code="elf-malformed",
            hint="build or download it again; `readelf -a` tells more",
        )

    def truncated(self, where: str) -> InputError:
        return InputError(
            f"{self.extent.name} is cut short: it ends {where}",
            code="file-truncated",
            hint="build or download it again",
        )

    # --- tables ---------------------------------------------------------------------------------------------------

    def _table(self, what: str, offset: int, width: int, count: int, least: int) -> list[bytes]:
        if count == 0:
            return []
        if width < least or count > _MAX_HEADERS:
            raise self.malformed(f"{count} {what} headers of {width} bytes")
        data = self.extent.read_at(offset, width * count)
        if len(data) < width * count:
            raise self.truncated(f"before its {what} headers are complete (byte {offset:#x} and on)")
        return [data[at : at + width] for at in range(0, len(data), width)]

    def _section_headers(self) -> list[_Section]:
        least = 64 if self.bits == 64 else 40
        if not self.shoff:
            return []
        first = self._section(self._table("section", self.shoff, self.shentsize, 1, least)[0])
        # Where a count does not fit into the header, the first section header holds it.
        count = self.shnum or first.size
        sections = [self._section(row) for row in self._table("section", self.shoff, self.shentsize, count, least)]
        if self.phnum == 0xFFFF:
            self.phnum = first.info
        if self.shstrndx == 0xFFFF:
            self.shstrndx = first.link
        for section in sections:
            in_file = section.size if section.kind not in (_SHT_NULL, _SHT_NOBITS) else 0
            if in_file and section.offset + in_file > self.extent.size:
                raise self.truncated(
                    f"at byte {self.extent.size}; a section goes on to {section.offset + section.size}"
                )
        return sections

    def _section(self, row: bytes) -> _Section:
        return _Section._make(struct.unpack_from(self.order + ("IIQQQQII" if self.bits == 64 else "IIIIIIII"), row))

    def _segments(self) -> list[_Segment]:
        segments = []
        for row in self._table("program", self.phoff, self.phentsize, self.phnum, 56 if self.bits == 64 else 32):
            if self.bits == 64:
                kind, flags, offset, address, _, size = struct.unpack_from(self.order + "IIQQQQ", row)
            else:
                kind, offset, address, _, size, _, flags = struct.unpack_from(self.order + "IIIIIII", row)
            if kind == _PT_LOAD and offset + size > self.extent.size:
                raise self.truncated(f"at byte {self.extent.size}; a segment goes on to {offset + size}")
            segments.append(_Segment(kind, flags, offset, address, size))
        return segments

    def named(self) -> dict[str, _Section]:
        """The first section of every name."""
        if self.shstrndx >= len(self.raw_sections):
            return {}
        table = self.raw_sections[self.shstrndx]
        names = self.extent.read_at(table.offset, min(table.size, 16 * _MAX_SMALL_SECTION))
        found: dict[str, _Section] = {}
        for section in self.raw_sections:
            end = names.find(b"\0", section.name, section.name + 256)
            if end > section.name:
                found.setdefault(names[section.name : end].decode("utf-8", "replace"), section)
        return found

    def content(self, section: _Section | None) -> bytes:
        """A small section's bytes; nothing of one that is absent or not in the file."""
        if section is None or section.kind == _SHT_NOBITS:
            return b""
        return self.extent.read_at(section.offset, min(section.size, _MAX_SMALL_SECTION))

    def load(self, address: int, length: int) -> bytes:
        """Bytes of the memory image; fewer where a segment's part in the file ends."""
        for segment in self.segments:
            if segment.kind == _PT_LOAD and 0 <= address - segment.address < segment.size:
                within = address - segment.address
                return self.extent.read_at(segment.offset + within, min(length, segment.size - within))
        return b""

    # --- what they say --------------------------------------------------------------------------------------------

    def facts(self) -> ElfFacts:
        sections = self.named()
        interpreter = self._interpreter()
        dynamic = list(self._dynamic())
        needed = self._needed(dynamic)
        if self.type == _DYN and interpreter is None and self._is_library(dynamic, needed):
            raise _library(self.extent.name)
        if not any(segment.kind == _PT_LOAD for segment in self.segments):
            raise self.malformed("it has no segment to load")
        go = self._go(sections.get(".go.buildinfo"))
        static = interpreter is None and not needed
        comments = self.content(sections.get(".comment")).decode("utf-8", "replace").split("\0")
        return ElfFacts(
            platform=self._platform(sections, go),
            bits=self.bits,
            byte_order=self.byte_order,
            machine=MACHINES.get(self.target.machine, f"machine-{self.target.machine}"),
            osabi=self.osabi,
            type="executable" if self.type == _EXEC else "shared",
            interpreter=interpreter,
            needed=needed,
            static=static,
            static_pie=static and self.type == _DYN,
            stripped=not any(section.kind == _SHT_SYMTAB for section in self.raw_sections),
            go=go,
            comments=tuple(dict.fromkeys(comment for comment in comments if comment)),
        )

    def _platform(self, sections: dict[str, _Section], go: GoBuild | None) -> Platform:
        os = operating_system(self.osabi, self._note_owners(), go)
        platform = platform_of(self.target, os, self.content(sections.get(".ARM.attributes")), go)
        if platform is None:
            raise InputError(
                f"{self.extent.name} is a program for {self.target.name}, which no OCI platform names",
                code="elf-machine-unknown",
                hint="x32 and other 32-bit ABIs of 64-bit machines have no platform: build for the machine's usual ABI",
            )
        if os not in ("linux", "freebsd"):
            raise InputError(
                f"{self.extent.name} is a program for {os}; images are for linux or freebsd",
                code="elf-os-unknown",
                hint="build it for linux",
            )
        return platform

    def _interpreter(self) -> str | None:
        for segment in self.segments:
            if segment.kind == _PT_INTERP:
                data = self.extent.read_at(segment.offset, min(segment.size, _MAX_TEXT))
                return data.partition(b"\0")[0].decode("utf-8", "replace")
        return None

    def _note_owners(self) -> frozenset[str]:
        owners: set[str] = set()
        for segment in self.segments:
            if segment.kind == _PT_NOTE and len(owners) < 16:
                data = self.extent.read_at(segment.offset, min(segment.size, _MAX_TEXT))
                at = 0
                while at + 12 <= len(data):
                    namesz, descsz, _ = struct.unpack_from(self.order + "III", data, at)
                    owners.add(data[at + 12 : at + 12 + min(namesz, 32)].rstrip(b"\0").decode("ascii", "replace"))
                    at += 12 + (namesz + 3 & ~3) + (descsz + 3 & ~3)
        return frozenset(owners)

    def _dynamic(self) -> Iterator[tuple[int, int]]:
        for segment in self.segments:
            if segment.kind == _PT_DYNAMIC:
                width = self.bits // 4
                data = self.extent.read_at(segment.offset, min(segment.size, 16 * _MAX_SMALL_SECTION))
                usable = len(data) - len(data) % width
                for tag, value in struct.iter_unpack(self.order + ("QQ" if self.bits == 64 else "II"), data[:usable]):
                    if tag == 0:
                        return
                    yield tag, value
                return

    def _needed(self, dynamic: list[tuple[int, int]]) -> tuple[str, ...]:
        table = next((value for tag, value in dynamic if tag == _DT_STRTAB), None)
        names = [value for tag, value in dynamic if tag == _DT_NEEDED]
        if table is None or not names:
            return ()
        if len(names) > _MAX_NEEDED:
            raise self.malformed(f"{len(names)} shared libraries are needed")
        return tuple(self.load(table + at, _MAX_TEXT).partition(b"\0")[0].decode("utf-8", "replace") for at in names)

    def _is_library(self, dynamic: list[tuple[int, int]], needed: tuple[str, ...]) -> bool:
        tags = dict(dynamic)
        if tags.get(_DT_FLAGS_1, 0) & _DF_1_PIE:
            return False
        # Linkers before DF_1_PIE, and some others, leave static PIE unmarked: an entry point and no name tell it.
        return _DT_SONAME in tags or bool(needed) or self.entry == 0

    def _go(self, section: _Section | None) -> GoBuild | None:
        if section is not None:
            return read_go_build(self.load, section.address, min(section.size, _GO_BLOB))
        # Without section headers: where Go's linker puts it, at the start of the first writable segment.
        for segment in self.segments:
            if segment.kind == _PT_LOAD and segment.flags & _PF_W:
                return read_go_build(self.load, segment.address, min(segment.size, _GO_BLOB))
        return None


_RUST_TARGETS = {
    "amd64": "x86_64-unknown-linux-musl",
    "arm64": "aarch64-unknown-linux-musl",
    "386": "i686-unknown-linux-musl",
    "arm": "armv7-unknown-linux-musleabihf",
    "riscv64": "riscv64gc-unknown-linux-musl",
    "ppc64le": "powerpc64le-unknown-linux-musl",
    "s390x": "s390x-unknown-linux-musl",
    "loong64": "loongarch64-unknown-linux-musl",
    "mips64le": "mips64el-unknown-linux-muslabi64",
}


def refuse_dynamic(name: str, facts: ElfFacts) -> None:
    """Raise InputError (`dynamic-binary`) for a program that needs more than an empty image has."""
    if facts.static:
        return
    wants = [f"the loader {facts.interpreter}"] if facts.interpreter else []
    if facts.needed:
        wants.append(", ".join(facts.needed))
    target = _RUST_TARGETS.get(facts.platform.architecture, "a target with musl in its name")
    cure = {
        "go": "build it with CGO_ENABLED=0, and without -linkmode=external or -buildmode=pie",
        "rust": f"build it with --target {target}, or with RUSTFLAGS='-C target-feature=+crt-static' and a --target",
        "unknown": "link it with -static (gcc, musl-gcc or zig cc); in Rust with -C target-feature=+crt-static",
    }[facts.toolchain]
    raise InputError(
        f"{name} is dynamically linked: it needs {' and '.join(wants)}, which an empty image does not have",
        code="dynamic-binary",
        hint=f"{cure}; --allow-dynamic packs it all the same",
    )


def _refuse_type(name: str, elf_type: int) -> None:
    if elf_type in (_EXEC, _DYN):
        return
    what, code, hint = {
        1: ("an object file", "elf-object", "link it statically: the compiler without -c, with -static"),
        4: ("a core dump", "elf-core", "give the program that dumped it"),
    }.get(elf_type, (f"an ELF file of the unknown type {elf_type}", "elf-malformed", "build it again"))
    raise InputError(f"{name} is {what}, not a program", code=code, hint=hint)


def _library(name: str) -> InputError:
    return InputError(
        f"{name} is a shared library, not a program",
        code="elf-shared-library",
        hint="give the program itself; further files are added with --add",
    )


def _precompiled(extent: Extent, header: bytes) -> InputError:
    # Wasmtime keeps compiled code as ELF with an OS ABI of its own; e_flags tell a module (1) from a component (2).
    at = 48 if header[4] == 2 else 36
    flags = int.from_bytes(header[at : at + 4], "little" if header[5] == 1 else "big")
    what = {1: "module", 2: "component"}.get(flags & 3, "program")
    return InputError(
        f"{extent.name} is a Wasm {what} that Wasmtime has compiled ahead of time (.cwasm)",
        code="wasm-precompiled",
        hint="give the .wasm it was compiled from: compiled code runs on one machine and one version of Wasmtime alone",
    )
