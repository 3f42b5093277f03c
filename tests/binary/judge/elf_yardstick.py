"""What pyelftools and Go's own reader say of an ELF file, against what ocibuild.binary says of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from ocibuild.binary.elf import ElfFacts

_MACHINES = {
    "EM_386": "386", "EM_X86_64": "x86-64", "EM_ARM": "arm", "EM_AARCH64": "aarch64", "EM_RISCV": "riscv",
    "EM_PPC64": "ppc64", "EM_S390": "s390", "EM_LOONGARCH": "loongarch", "EM_MIPS": "mips",
}  # fmt: skip
_OS_ABIS = {
    "ELFOSABI_SYSV": "sysv", "ELFOSABI_LINUX": "linux", "ELFOSABI_FREEBSD": "freebsd", "ELFOSABI_NETBSD": "netbsd",
    "ELFOSABI_OPENBSD": "openbsd", "ELFOSABI_ARM": "arm",
}  # fmt: skip


def expected_refusal(path: Path, platform: str | None) -> str | None:
    """The code of the error that this file deserves, or None for a program."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        if elf["e_type"] == "ET_REL":
            return "elf-object"
        tags = _dynamic(elf)
        if elf["e_type"] == "ET_DYN" and _interpreter(elf) is None:
            pie = any(entry.entry.d_tag == "DT_FLAGS_1" and entry.entry.d_val & 0x08000000 for entry in tags)
            named = any(entry.entry.d_tag in ("DT_SONAME", "DT_NEEDED") for entry in tags)
            if not pie and (named or elf["e_entry"] == 0):
                return "elf-shared-library"
    system = (platform or "linux").partition("/")[0]
    return None if system in ("linux", "freebsd") else "elf-os-unknown"


def compare(path: Path, facts: ElfFacts, platform: str | None) -> list[str]:
    """Everything in which pyelftools sees something else; `platform` is what the package's name says."""
    with path.open("rb") as file:
        differences = [
            f"{what}: they say {theirs}, ocibuild says {ours}"
            for what, theirs, ours in _fields(ELFFile(file), facts)
            if theirs != ours
        ]
    if platform is not None and platform not in (str(facts.platform), str(facts.platform).rpartition("/v")[0]):
        differences.append(f"platform: the package says {platform}, ocibuild says {facts.platform}")
    return differences


def _fields(elf: ELFFile, facts: ElfFacts) -> Iterator[tuple[str, Any, Any]]:
    needed = tuple(tag.needed for tag in _dynamic(elf) if tag.entry.d_tag == "DT_NEEDED")
    interpreter = _interpreter(elf)
    static = interpreter is None and not needed
    yield "bits", elf.elfclass, facts.bits
    yield "byte order", "little" if elf.little_endian else "big", facts.byte_order
    yield "machine", _MACHINES.get(elf["e_machine"], elf["e_machine"]), facts.machine
    yield "OS ABI", _OS_ABIS.get(elf["e_ident"]["EI_OSABI"]), facts.osabi
    yield "type", {"ET_EXEC": "executable", "ET_DYN": "shared"}[elf["e_type"]], facts.type
    yield "interpreter", interpreter, facts.interpreter
    yield "libraries", needed, facts.needed
    yield "static", static, facts.static
    yield "static PIE", static and elf["e_type"] == "ET_DYN", facts.static_pie
    yield "stripped", not any(s["sh_type"] == "SHT_SYMTAB" for s in elf.iter_sections()), facts.stripped
    comment = elf.get_section_by_name(".comment")
    words = comment.data().decode("utf-8", "replace").split("\0") if comment else []
    yield "comments", tuple(dict.fromkeys(word for word in words if word)), facts.comments
    if elf["e_machine"] == "EM_ARM" and not facts.go:
        variant = _arm_variant(elf)
        if variant:
            yield "ARM variant", variant, facts.variant


def _arm_variant(elf: ELFFile) -> str | None:
    section = elf.get_section_by_name(".ARM.attributes")
    if section is None:
        return None
    for subsection in section.iter_subsections():
        for scope in subsection.iter_subsubsections():
            for attribute in scope.iter_attributes("TAG_CPU_ARCH"):
                # The ARM ABI's addenda number the architectures: 3-5 v5TE(J), 6-9 v6, 10 v7, 14 v8-A.
                value = attribute.value
                return {3: "v5", 4: "v5", 5: "v5", 6: "v6", 7: "v6", 8: "v6", 9: "v6", 10: "v7", 14: "v8"}.get(value)
    return None


def compare_go(path: Path, facts: ElfFacts) -> Iterator[str]:
    """What `go version -m` sees otherwise."""
    done = subprocess.run(["go", "version", "-m", path], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode or ": go" not in done.stdout.partition("\n")[0]:
        if facts.go is not None:
            yield f"Go: go finds no build information, ocibuild found {facts.go.version}"
        return
    first, *lines = done.stdout.splitlines()
    if facts.go is None:
        yield f"Go: {first.rpartition(': ')[2]} is not seen"
        return
    rows = [line.strip("\n").split("\t")[1:] for line in lines]
    # `go version -m` prints the values of quoted settings as they stand in the file.
    settings = {key: value.strip('"') for row in rows if row[0] == "build" for key, _, value in [row[1].partition("=")]}
    theirs = {
        "version": first.rpartition(": ")[2],
        "path": next((row[1] for row in rows if row[0] == "path"), None),
        "module": next((row[1] for row in rows if row[0] == "mod"), None),
        "module_version": next((row[2] for row in rows if row[0] == "mod"), None),
    }
    for name, value in theirs.items():
        if getattr(facts.go, name) != value:
            yield f"Go {name}: go says {value}, ocibuild says {getattr(facts.go, name)}"
    if settings != dict(facts.go.settings):
        yield f"Go settings: go says {settings}, ocibuild says {facts.go.settings}"


def _dynamic(elf: ELFFile) -> list[Any]:
    return [
        tag for segment in elf.iter_segments() if isinstance(segment, DynamicSegment) for tag in segment.iter_tags()
    ]


def _interpreter(elf: ELFFile) -> str | None:
    return next((s.get_interp_name() for s in elf.iter_segments() if isinstance(s, InterpSegment)), None)
