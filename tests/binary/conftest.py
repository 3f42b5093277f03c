"""The vectors, and the judge's yardsticks on the import path: small files are held against them in the fast tests too."""

from __future__ import annotations

import lzma
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors"

sys.path.insert(0, str(HERE / "judge"))


@pytest.fixture
def elf_vector(tmp_path: Path):
    """`elf_vector("go-arm64")` is the path of that program, unpacked."""

    def unpack(name: str) -> Path:
        path = tmp_path / name
        path.write_bytes(lzma.decompress((VECTORS / "elf" / f"{name}.xz").read_bytes()))
        return path

    return unpack


@pytest.fixture
def wasm_vector():
    """`wasm_vector("command")` is the path of that module or component."""
    return lambda name: VECTORS / "wasm" / f"{name}.wasm"
