"""Hostile input: whatever the bytes, the readers answer with facts or with our error, fast and in little memory.

The corpus is the samples, which are real programs, mutated: cut, flipped, and with numbers that cannot be true.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocibuild.binary.artifact import inspect, inspect_bytes
from ocibuild.errors import InputError

SAMPLES = Path(__file__).parents[2] / "samples"
PROGRAMS = [
    "hello.wasm",
    "hello-c.wasm",
    "hello-command.wasm",
    "hello-http.wasm",
    "hello-linux-amd64",
    "hello-linux-arm64",
]
MODULE = b"\0asm\1\0\0\0"
COMPONENT = b"\0asm\x0d\0\1\0"


def answers(data: bytes) -> str:
    """`facts`, or the code of the error; anything else is raised."""
    try:
        inspect_bytes(data, "mutated")
    except InputError as error:
        assert error.code not in ("failed", "input-invalid")
        return error.code
    return "facts"


@given(st.sampled_from([MODULE, COMPONENT, b"\x7fELF\2\1\1\0", b"\x7fELF\1\2\1\0", b""]), st.binary(max_size=400))
def test_random_bytes_behind_any_magic_give_only_our_errors(magic: bytes, rest: bytes) -> None:
    answers(magic + rest)


@pytest.mark.parametrize("name", PROGRAMS)
def test_real_programs_mutated_give_only_our_errors(name: str) -> None:
    whole = (SAMPLES / name).read_bytes()
    chance = random.Random(name)
    outcomes = set()
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            # Headers and the ends of sections are where the numbers are.
            at = chance.randrange(min(len(data), 2048)) if chance.random() < 0.7 else chance.randrange(len(data))
            data[at] = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        outcomes.add(answers(bytes(data)))
    assert len(outcomes) > 1, "no mutation was noticed: the test does not reach the reader"


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_real_program_cut_anywhere_is_never_taken_for_the_whole(name: str) -> None:
    whole = (SAMPLES / name).read_bytes()
    chance = random.Random(name)
    for length in {*range(80), *(chance.randrange(len(whole)) for _ in range(200))}:
        found = answers(whole[:length])
        assert found != "facts" or not name.endswith(".wasm") or _ends_a_section(whole, length), length


def _ends_a_section(whole: bytes, length: int) -> bool:
    """A module cut between two sections is a module too."""
    at = 8
    while at < length:
        at += 1
        size = shift = 0
        while True:
            byte = whole[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        at += size
    return at == length


HUGE = b"\xff\xff\xff\xff\x0f"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(MODULE + b"\1\xff\xff\xff\xff\x7f", id="section-size-overflows"),
        pytest.param(MODULE + b"\1" + HUGE, id="section-of-4-gib"),
        pytest.param(MODULE + b"\2\5" + HUGE, id="4-billion-imports"),
        pytest.param(MODULE + b"\7\5" + HUGE, id="4-billion-exports"),
        pytest.param(MODULE + b"\0\5" + HUGE, id="name-of-4-gib"),
        pytest.param(MODULE + b"\1" + b"\x80" * 50, id="endless-leb128"),
        pytest.param(COMPONENT + b"\1" + HUGE, id="component-section-of-4-gib"),
        pytest.param(COMPONENT + b"\x0a\5" + HUGE, id="component-4-billion-imports"),
        pytest.param(COMPONENT + b"\x0b\5" + HUGE, id="component-4-billion-exports"),
        pytest.param(COMPONENT + b"\0\5" + HUGE, id="component-name-of-4-gib"),
        pytest.param(COMPONENT + b"\4" + b"\x80" * 50, id="component-endless-leb128"),
    ],
)
def test_numbers_that_cannot_be_true_end_at_once(data: bytes) -> None:
    tracemalloc.start()
    began = time.process_time()
    found = answers(data)
    spent = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found in ("wasm-malformed", "file-truncated")
    assert spent < 1
    assert peak < 4 * 1024 * 1024


def test_components_nested_a_thousand_deep_end_in_our_words() -> None:
    data = COMPONENT
    for _ in range(1000):
        size, length = b"", len(data)
        while True:
            size += bytes([length & 0x7F | (0x80 if length > 0x7F else 0)])
            length >>= 7
            if not length:
                break
        data = COMPONENT + b"\4" + size + data
    assert answers(data) in ("facts", "wasm-malformed")


def test_a_large_file_is_looked_at_without_being_read(tmp_path: Path) -> None:
    big = tmp_path / "big.wasm"
    length = 1 << 30
    size, left = b"", length
    while True:
        size += bytes([left & 0x7F | (0x80 if left > 0x7F else 0)])
        left >>= 7
        if not left:
            break
    with big.open("wb") as stream:  # a custom section of 1 GiB, mostly a hole
        stream.write(MODULE + b"\0" + size + b"\1x")
        stream.truncate(8 + 1 + len(size) + length)
    tracemalloc.start()
    began = time.process_time()
    artifact = inspect(big)
    spent = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert artifact.kind == "module"
    assert artifact.size > length
    assert spent < 1
    assert peak < 4 * 1024 * 1024
