"""A program inside an image is looked into without being unpacked: the facts are those of the file itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocibuild.api import places
from ocibuild.api.pack import pack
from ocibuild.binary.artifact import inspect, inspect_extent
from ocibuild.errors import ContentError
from ocibuild.image.look import Look
from ocibuild.image.shapes.recognise import Program, find_program
from ocibuild.spec.manifest import Manifest
from ocibuild.store.graph import node

SAMPLES = Path(__file__).parents[2] / "samples"
SECTION = 5 * 1024 * 1024


def program(layout: Path) -> Program:
    store = places.source(places.parse(str(layout)))
    manifest = node(store, store.resolve(""))
    assert isinstance(manifest, Manifest)
    return find_program(store, manifest)


def padded(sample: Path, folder: Path) -> Path:
    """The sample with a custom section in front of its own, so that it is larger than what is held."""
    data = sample.read_bytes()
    length = bytes(SECTION >> shift & 0x7F | 0x80 for shift in (0, 7, 14)) + bytes([SECTION >> 21])
    path = folder / "padded.wasm"
    path.write_bytes(data[:8] + b"\0" + length + b"\1x" + os.urandom(SECTION - 2) + data[8:])
    return path


@pytest.mark.parametrize("shape", ["image", "artifact"])
@pytest.mark.parametrize("sample", ["hello.wasm", "hello-command.wasm", "hello-c.wasm", "hello-http.wasm"])
@pytest.mark.parametrize("large", [False, True])
def test_the_facts_are_the_files_own(shape: str, sample: str, large: bool, tmp_path: Path) -> None:
    path = padded(SAMPLES / sample, tmp_path) if large else SAMPLES / sample
    pack(path, output=str(tmp_path / "a.oci"), format=shape)
    with Look(program(tmp_path / "a.oci")) as look:
        assert inspect_extent(look).facts == inspect(path).facts


def test_a_reader_that_goes_back_for_ever_is_stopped(tmp_path: Path) -> None:
    pack(padded(SAMPLES / "hello.wasm", tmp_path), output=str(tmp_path / "a.oci"), format="artifact")
    with Look(program(tmp_path / "a.oci")) as look:
        for _ in range(1000):
            look.read_at(0, 8)
        with pytest.raises(ContentError, match="back and forth") as caught:
            look.read_at(0, 8)
    assert caught.value.code == "not-convertible"
