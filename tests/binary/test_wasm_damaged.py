"""Files that lie: sizes, counts and numbers that cannot be true end in our error, at once, in little memory."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from ocibuild.binary.artifact import inspect_bytes
from ocibuild.binary.extent import Budget, Memory
from ocibuild.binary.wasm import read_wasm
from ocibuild.errors import InputError

MODULE, COMPONENT = b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0"
MAX_U32 = b"\xff\xff\xff\xff\x0f"


def leb(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def section(code: int, body: bytes) -> bytes:
    return bytes([code]) + leb(len(body)) + body


def refused(data: bytes) -> InputError:
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(InputError) as caught:
        inspect_bytes(data, "a.wasm")
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 0.5
    assert peak < 1024 * 1024
    return caught.value


@pytest.mark.parametrize(
    "data",
    [
        MODULE + section(2, b"\x80\x80\x80\x80\x80\x00"),  # six bytes for a number of 32 bits
        MODULE + section(2, b"\xff\xff\xff\xff\x1f"),  # 33 bits in five bytes
        MODULE + section(2, b"\x80\x80"),  # a number without its end
        MODULE + section(5, b"\x01\x04" + b"\xff" * 9 + b"\x03"),  # 65 bits
        MODULE + section(5, b"\x01\x08\x01" + leb(64)),  # pages of 2^64 bytes
        MODULE + section(2, b"\x01" + MAX_U32 + b"name"),  # a name of 4 GiB
        MODULE + section(2, b"\x01\x02\xff\xfe\x00\x00\x00"),  # a name that is not UTF-8
        MODULE + section(2, MAX_U32),  # 2^32 imports
        MODULE + section(7, MAX_U32 + b"\x01f\x00\x00"),  # 2^32 exports
        MODULE + section(5, MAX_U32),  # 2^32 memories
        MODULE + section(7, b"\x02\x01f\x00\x00"),  # one export fewer than announced
        MODULE + section(0, b""),  # a custom section without a name
        MODULE + section(0, b"\x05ab"),  # a name longer than its section
        COMPONENT + section(10, MAX_U32),
        COMPONENT + section(11, b"\x01\x00" + MAX_U32),
        COMPONENT + section(10, b"\x01\x00\x01a\x01"),
        COMPONENT + section(1, b"\0asm"),  # a module of four bytes
        COMPONENT + section(1, MODULE + section(5, MAX_U32)),  # damaged inside
    ],
)
def test_numbers_that_cannot_be_true(data):
    error = refused(data)
    assert error.code == "wasm-malformed"
    assert "at byte 0x" in str(error)


@pytest.mark.parametrize(
    "data",
    [
        MODULE + b"\x0a" + MAX_U32 + b"code",
        MODULE + b"\x0a\x05code",
        COMPONENT + b"\x01" + leb(1000) + MODULE,
        MODULE[:7],
    ],
)
def test_a_file_that_ends_too_early_is_called_cut_short(data):
    assert refused(data).code == "file-truncated"


def test_a_section_without_its_size():
    assert refused(MODULE + b"\x0a").code == "wasm-malformed"


def test_the_error_names_the_byte_at_fault():
    data = MODULE + section(0, b"\x01x") + section(2, MAX_U32)
    assert f"{data.index(MAX_U32):#x}" in str(refused(data))


def test_components_in_components_are_followed_only_so_far():
    data = COMPONENT
    for _ in range(300):
        data = COMPONENT + section(4, data)
    facts = inspect_bytes(data, "a.wasm").facts
    depth = 0
    while facts.modules:
        facts, depth = facts.modules[0], depth + 1
    assert depth == 16
    assert "too deep" in facts.unread[0]


def test_worlds_in_worlds_are_followed_only_so_far():
    data = COMPONENT
    for _ in range(300):
        data = COMPONENT + section(0, b"\x0ecomponent-type" + data)
    assert inspect_bytes(data, "a.wasm").facts.kind == "component"


def test_types_in_types_do_not_exhaust_the_stack():
    nested = b"\x01" + b"\x4e\x01" * 20_000 + b"\x60\x00\x00"
    assert inspect_bytes(MODULE + section(1, nested), "a.wasm").facts.features == ("gc",)
    nested = b"\x01" + b"\x50\x00" * 20_000 + b"\x60\x00\x00"
    assert inspect_bytes(MODULE + section(1, nested), "a.wasm").facts.features == ("gc",)


def test_a_version_with_a_million_digits_is_no_number():
    name = b"wasi:cli/run@" + b"9" * 10_000 + b".0.0"
    data = COMPONENT + section(10, b"\x01\x00" + leb(len(name)) + name + b"\x01\x00")
    assert inspect_bytes(data, "a.wasm").facts.wasi == "none"


@pytest.mark.parametrize(
    "data",
    [
        MODULE + section(0, b"\x01x") * 2500,
        MODULE + section(7, leb(2500) + b"\x00\x00\x00" * 2500),
        MODULE + section(2, leb(2500) + b"\x00\x00\x00\x00" * 2500),
        MODULE + section(2, b"\x01\x00\x00\x7e\x00\x00" + leb(2500) + b"\x00" * 2500),
        MODULE + section(5, leb(2500) + b"\x00\x00" * 2500),
        MODULE + section(0, leb(300_000) + b"x" * 300_000),
        COMPONENT + section(10, leb(2500) + b"\x00\x00\x01\x00" * 2500),
        COMPONENT + section(1, MODULE + section(0, b"\x01x") * 10) * 250,
    ],
    ids=["sections", "exports", "imports", "compact imports", "memories", "a name", "in a component", "in modules"],
)
def test_no_more_is_kept_than_the_budget(data):
    started = time.process_time()
    tracemalloc.start()
    with pytest.raises(InputError, match=r"more .* than any program") as caught:
        read_wasm(Memory("a.wasm", data), Budget(items=2000, text=200_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code == "wasm-malformed"
    assert peak < 2 * 1024 * 1024
    assert time.process_time() - started < 5


def test_the_budget_of_a_real_reading_has_an_end():
    name = leb(64 * 1024 * 1024) + bytes(64 * 1024 * 1024)
    with pytest.raises(InputError, match=r"more names and texts than any program"):
        inspect_bytes(MODULE + section(0, name), "a.wasm")
