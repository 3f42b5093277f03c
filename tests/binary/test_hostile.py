"""Whatever the bytes: facts or our error, never another exception, soon, and with little read."""

from __future__ import annotations

import lzma
import random
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocibuild.binary.artifact import inspect_bytes
from ocibuild.binary.elf import read_elf
from ocibuild.binary.extent import Memory
from ocibuild.binary.wasm import read_wasm
from ocibuild.errors import InputError

ROOT = Path(__file__).parents[2]
WASM = sorted([*(ROOT / "tests" / "vectors" / "wasm").glob("*.wasm"), *(ROOT / "samples").glob("*.wasm")])
ELF = sorted((ROOT / "tests" / "vectors" / "elf").glob("*.xz"))
MUTATIONS = 150


def survives(data: bytes) -> None:
    started = time.process_time()
    try:
        inspect_bytes(data, "program", allow_dynamic=True)
    except InputError as error:
        assert error.code != "input-invalid"
        assert len(str(error)) < 1000
    assert time.process_time() - started < 2


@given(st.binary(max_size=600))
def test_any_bytes(data):
    survives(data)


@given(st.sampled_from([b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0"]), st.binary(max_size=600))
def test_any_bytes_behind_the_header_of_wasm(header, data):
    survives(header + data)


@given(
    st.sampled_from([b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0"]),
    st.lists(st.tuples(st.integers(0, 14), st.binary(max_size=100)), max_size=12),
)
def test_any_sections(header, sections):
    survives(header + b"".join(bytes([code, len(body)]) + body for code, body in sections))


@given(
    st.sampled_from(["producers", "name", "component-name", "target_features", "component-type", "authors", "linking"]),
    st.binary(max_size=120),
)
def test_any_custom_section_leaves_the_rest_readable(name, body):
    content = bytes([len(name)]) + name.encode() + body
    data = b"\0asm\x01\0\0\0\0" + bytes([len(content) & 0x7F | 0x80, len(content) >> 7]) + content
    facts = read_wasm(Memory("a.wasm", data + b"\x07\x05\x01\x01f\x00\x00"))
    assert [entry.name for entry in facts.exports] == ["f"]


@given(st.integers(1, 2), st.integers(1, 2), st.binary(min_size=58, max_size=600))
def test_any_bytes_behind_the_mark_of_elf(bits, order, data):
    survives(b"\x7fELF" + bytes([bits, order]) + data)


def mutated(data: bytes, seed: int) -> bytes:
    """Some bytes replaced, removed, repeated or cut off, in the front part more than behind it."""
    chance = random.Random(seed)
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = int(len(changed) * chance.random() ** 3) if changed else 0
        match chance.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])])
            case 1:
                changed[at : at + 5] = b"\xff\xff\xff\xff\x0f"
            case 2:
                del changed[at : at + chance.randint(1, 16)]
            case 3:
                changed[at:at] = changed[at : at + chance.randint(1, 64)]
            case _:
                if chance.random() < 0.2:
                    del changed[at:]
    return bytes(changed)


@pytest.mark.parametrize("path", WASM, ids=lambda path: path.stem)
def test_mutated_modules(path):
    data = path.read_bytes()
    outcomes = set()
    for seed in range(MUTATIONS):
        changed = mutated(data, seed)
        survives(changed)
        outcomes.add(_outcome(changed))
    assert len(outcomes) > 1  # the mutations did damage something


@pytest.mark.parametrize("path", ELF, ids=lambda path: path.stem)
def test_mutated_programs(path):
    # Of a file of megabytes, the pages with headers and tables are what a change can hurt.
    data = lzma.decompress(path.read_bytes())
    for seed in range(MUTATIONS):
        chance = random.Random(seed)
        changed = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(4, min(len(changed), 1024))] = chance.choice([0, 1, 0x7F, 0x80, 0xFF])
        survives(bytes(changed[: chance.choice([len(changed), len(changed), chance.randrange(len(changed))])]))


def _outcome(data: bytes) -> str:
    try:
        return inspect_bytes(data, "program", allow_dynamic=True).kind
    except InputError as error:
        return error.code


@dataclass
class Counting:
    """An extent that claims to be large, and counts what is read of it."""

    data: bytes
    size: int
    name: str = "large"
    read: int = 0

    def read_at(self, offset: int, length: int) -> bytes:
        part = self.data[offset : offset + length]
        part += bytes(max(0, min(length, self.size - offset) - len(part)))
        self.read += len(part)
        return part


def test_a_hostile_elf_file_makes_little_be_read():
    header = bytearray(lzma.decompress((ROOT / "tests" / "vectors" / "elf" / "go-amd64.xz").read_bytes())[:64])
    header[56:58] = b"\xfe\xff"  # the most program headers there can be
    header[60:62] = b"\xff\xff"  # and sections
    extent = Counting(bytes(header), 2**40)
    with pytest.raises(InputError):
        read_elf(extent)
    assert extent.read < 16 * 1024 * 1024
