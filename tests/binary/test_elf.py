"""Native programs: their platform, what they are linked to, and what is refused; the same in pyelftools' words."""

from __future__ import annotations

import struct
from pathlib import Path

import elf_yardstick
import pytest

from ocibuild.binary.artifact import inspect, inspect_bytes
from ocibuild.binary.elf import ElfFacts
from ocibuild.binary.machine import Target, arm_variant, operating_system
from ocibuild.errors import InputError

PROGRAMS = {
    "go-amd64": "linux/amd64",
    "go-386": "linux/386",
    "go-arm64": "linux/arm64",
    "go-arm-5": "linux/arm/v5",
    "go-arm-6": "linux/arm/v6",
    "go-arm-7-softfloat": "linux/arm/v7",
    "go-riscv64": "linux/riscv64",
    "go-ppc64le": "linux/ppc64le",
    "go-s390x": "linux/s390x",
    "go-loong64": "linux/loong64",
    "go-mips64le": "linux/mips64le",
    "go-freebsd": "freebsd/amd64",
    "go-dynamic": "linux/amd64",
    "c-armv5": "linux/arm/v5",
    "c-armv6": "linux/arm/v6",
    "c-armv7": "linux/arm/v7",
    "c-static-pie": "linux/amd64",
    "c-stripped": "linux/amd64",
    "c-dynamic": "linux/arm64",
    "rust-dynamic": "linux/amd64",
    "rust-static-pie": "linux/amd64",
}


def facts_of(path: Path) -> ElfFacts:
    facts = inspect(path, allow_dynamic=True).facts
    assert isinstance(facts, ElfFacts)
    return facts


def refused(data: bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        inspect_bytes(data, "program")
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("name, platform", PROGRAMS.items())
def test_pyelftools_says_the_same(elf_vector, name, platform):
    path = elf_vector(name)
    assert elf_yardstick.compare(path, facts_of(path), platform) == []
    assert elf_yardstick.expected_refusal(path, platform) is None


@pytest.mark.real
@pytest.mark.parametrize("name", PROGRAMS)
def test_go_says_the_same(elf_vector, part, name):
    part("go")
    path = elf_vector(name)
    assert list(elf_yardstick.compare_go(path, facts_of(path))) == []


def test_a_static_program(elf_vector):
    facts = facts_of(elf_vector("c-stripped"))
    assert (facts.static, facts.static_pie, facts.stripped) == (True, False, True)
    assert (facts.bits, facts.byte_order, facts.machine, facts.type) == (64, "little", "x86-64", "executable")


@pytest.mark.parametrize("name", ["c-static-pie", "rust-static-pie"])
def test_a_static_position_independent_program_is_no_library(elf_vector, name):
    facts = facts_of(elf_vector(name))
    assert (facts.static, facts.static_pie, facts.interpreter, facts.type) == (True, True, None, "shared")


def test_a_big_endian_machine(elf_vector):
    assert facts_of(elf_vector("go-s390x")).byte_order == "big"


def test_go_programs_say_how_they_were_built(elf_vector):
    go = facts_of(elf_vector("go-arm-7-softfloat")).go
    assert go is not None
    assert go.version.startswith("go1.")
    assert go.path == "command-line-arguments"
    assert (go.setting("GOARM"), go.setting("GOOS"), go.setting("CGO_ENABLED")) == ("7,softfloat", "linux", "0")
    assert go.setting("absent") is None


def test_go_programs_without_section_headers_say_it_too(elf_vector):
    data = bytearray(elf_vector("go-amd64").read_bytes())
    complete = inspect_bytes(bytes(data), "program").facts
    struct.pack_into("<Q", data, 40, 0)  # e_shoff
    struct.pack_into("<HH", data, 60, 0, 0)  # e_shnum, e_shstrndx
    without = inspect_bytes(bytes(data), "program").facts
    assert without.go == complete.go
    assert without.stripped


# Sections as GNU as writes them for -march=armv6 and the like (ABI addenda for the ARM architecture, build attributes):
# "A", length, vendor, then tag 1, length, and pairs of a tag and a number or text.
def attributes(*pairs: bytes, vendor: bytes = b"aeabi") -> bytes:
    body = b"".join(pairs)
    file = b"\x01" + (len(body) + 5).to_bytes(4, "little") + body
    return b"A" + (len(vendor) + 5 + len(file)).to_bytes(4, "little") + vendor + b"\0" + file


@pytest.mark.parametrize(
    "flags, section, variant",
    [
        (0x5000200, attributes(b"\x05arm926ej-s\0", b"\x06\x05"), "v5"),
        (0x5000400, attributes(b"\x05ARM1176JZF-S\0", b"\x06\x07", b"\x0a\x02"), "v6"),
        (0x5000400, attributes(b"\x20\x01gnu\0", b"\x43x\0", b"\x06\x0a"), "v7"),
        (0x5000400, attributes(b"\x06\x0e"), "v8"),
        (0x5000400, attributes(b"\x06\x63"), "v7"),  # an architecture of later days, with hardware floats
        (0x5000400, attributes(b"\x06\x06", vendor=b"acme"), "v7"),  # another vendor's tags mean other things
        (0x5000200, attributes(b"\x06\x06", vendor=b"acme") + attributes(b"\x06\x06")[1:], "v6"),
        (0x5000400, b"", "v7"),
        (0x5000200, b"", "v5"),
        (0x5000200, b"A\x03\0\0\0", "v5"),
        (0x5000200, attributes(b"\x06\x0a")[:-1], "v5"),
        (0x5000200, b"B" + attributes(b"\x06\x0a")[1:], "v5"),
    ],
)
def test_the_variant_of_an_arm_program(flags, section, variant):
    assert arm_variant(flags, section, None) == variant


def test_the_n32_abi_of_mips_has_no_platform():
    assert Target(8, 32, "little", 0x20).architecture is None
    assert Target(8, 32, "little", 0x1000).architecture == "mipsle"


@pytest.mark.parametrize(
    "osabi, notes, system",
    [
        ("sysv", set(), "linux"),
        ("linux", {"GNU"}, "linux"),
        ("freebsd", {"FreeBSD"}, "freebsd"),
        ("sysv", {"NetBSD", "PaX"}, "netbsd"),
        ("sysv", {"OpenBSD"}, "openbsd"),
        ("solaris", set(), "solaris"),
    ],
)
def test_the_system_a_program_calls(osabi, notes, system):
    assert operating_system(osabi, frozenset(notes), None) == system


# --- dynamic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, wants, cure",
    [
        ("go-dynamic", ["/lib64/ld-linux-x86-64.so.2", "libc.so.6"], "CGO_ENABLED=0"),
        ("rust-dynamic", ["/lib64/ld-linux-x86-64.so.2", "libc.so.6"], "+crt-static"),
        ("c-dynamic", ["/lib/ld-linux-aarch64.so.1", "libc.so.6"], "-static"),
    ],
)
def test_a_dynamic_program_is_refused_with_what_it_needs_and_the_cure(elf_vector, name, wants, cure):
    path = elf_vector(name)
    with pytest.raises(InputError) as caught:
        inspect(path)
    assert caught.value.code == "dynamic-binary"
    for want in wants:
        assert want in str(caught.value)
    assert cure in (caught.value.hint or "")
    assert "--allow-dynamic" in (caught.value.hint or "")


def test_rust_programs_are_told_the_target_of_their_machine(elf_vector):
    with pytest.raises(InputError) as caught:
        inspect(elf_vector("rust-dynamic"))
    assert "x86_64-unknown-linux-musl" in (caught.value.hint or "")


def test_a_dynamic_program_is_described_on_request(elf_vector):
    facts = facts_of(elf_vector("rust-dynamic"))
    assert not facts.static
    assert facts.interpreter == "/lib64/ld-linux-x86-64.so.2"
    assert "libc.so.6" in facts.needed
    assert facts.toolchain == "rust"


# --- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, code",
    [
        ("c-object", "elf-object"),
        ("c-library", "elf-shared-library"),
        ("c-x32", "elf-machine-unknown"),
        ("go-openbsd", "elf-os-unknown"),
        ("go-dragonfly", "elf-os-unknown"),
    ],
)
def test_other_kinds_of_elf_files(elf_vector, name, code):
    assert refused(elf_vector(name).read_bytes()).code == code


def test_a_core_dump(elf_vector):
    data = bytearray(elf_vector("c-stripped").read_bytes())
    struct.pack_into("<H", data, 16, 4)  # ET_CORE
    assert refused(bytes(data)).code == "elf-core"


@pytest.mark.parametrize("machine", [0x29A, 247, 183 | 0x8000])
def test_a_machine_without_a_platform(elf_vector, machine):
    data = bytearray(elf_vector("c-stripped").read_bytes())
    struct.pack_into("<H", data, 18, machine)
    assert refused(bytes(data)).code == "elf-machine-unknown"


@pytest.mark.parametrize("flags, what", [(1, "module"), (2, "component")])
def test_what_wasmtime_compiled_is_recognised_before_elf(flags, what):
    # The first 64 bytes that Wasmtime 50 writes for an empty module; e_flags tell a component from it.
    header = bytearray((Path(__file__).parents[1] / "vectors" / "elf" / "module.cwasm.head").read_bytes())
    struct.pack_into("<I", header, 48, flags)
    error = refused(bytes(header))
    assert error.code == "wasm-precompiled"
    assert f"Wasm {what}" in str(error)


# --- damaged ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [4, 16, 51, 63, 64, 200, 1000, -1])
def test_a_program_that_ends_too_early(elf_vector, length):
    data = elf_vector("go-amd64").read_bytes()
    assert refused(data[:length]).code == "file-truncated"


@pytest.mark.parametrize(
    "offset, form, value",
    [
        (4, "B", 3),  # class
        (5, "B", 0),  # byte order
        (16, "<H", 77),  # type
        (54, "<H", 8),  # program headers of eight bytes
        (58, "<H", 1),  # section headers of one byte
    ],
)
def test_headers_that_cannot_be_true(elf_vector, offset, form, value):
    data = bytearray(elf_vector("go-amd64").read_bytes())
    struct.pack_into(form, data, offset, value)
    assert refused(bytes(data)).code == "elf-malformed"


@pytest.mark.parametrize("offset", [32, 40])
def test_tables_beyond_the_end(elf_vector, offset):
    data = bytearray(elf_vector("go-amd64").read_bytes())
    struct.pack_into("<Q", data, offset, 2**63)
    assert refused(bytes(data)).code == "file-truncated"


def test_a_program_without_segments(elf_vector):
    data = bytearray(elf_vector("c-stripped").read_bytes())
    struct.pack_into("<H", data, 56, 0)  # e_phnum
    assert refused(bytes(data)).code == "elf-malformed"


def test_counts_that_do_not_fit_the_header_stand_in_the_first_section(elf_vector):
    data = bytearray(elf_vector("go-amd64").read_bytes())
    complete = inspect_bytes(bytes(data), "program").facts
    sections, count, names = struct.unpack_from("<Q", data, 40)[0], *struct.unpack_from("<HH", data, 60)
    segments = struct.unpack_from("<H", data, 56)[0]
    struct.pack_into("<H", data, 56, 0xFFFF)
    struct.pack_into("<HH", data, 60, 0, 0xFFFF)
    struct.pack_into("<Q", data, sections + 32, count)  # sh_size
    struct.pack_into("<II", data, sections + 40, names, segments)  # sh_link, sh_info
    assert inspect_bytes(bytes(data), "program").facts == complete
