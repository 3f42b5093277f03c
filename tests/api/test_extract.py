"""extract: out of every shape comes what went in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from ocibuild.api.extract import extract
from ocibuild.api.pack import pack
from ocibuild.cli.verbs import cli
from ocibuild.errors import ContentError, UsageError
from ocibuild.spec.digest import Digest

SAMPLES = Path(__file__).parents[2] / "samples"
WASM = SAMPLES / "hello.wasm"
NATIVE = SAMPLES / "hello-linux-amd64"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("shape", ["image", "compat", "wasm-layer", "artifact", "solo", "wasm-to-oci"])
@pytest.mark.parametrize("output", ["a.oci", "a.tar"])
def test_every_shape_gives_the_program_back(shape: str, output: str) -> None:
    pack(WASM, output=output, format=shape)
    done = extract(output, "out.wasm")
    assert Path("out.wasm").read_bytes() == WASM.read_bytes()
    assert (done.shape, done.size, done.digest) == (shape, WASM.stat().st_size, Digest.of(WASM.read_bytes()))


@pytest.mark.parametrize("compression", ["none", "gzip:9", "gzip-single", "zstd:3"])
def test_every_compression(compression: str) -> None:
    # 9 MiB is beyond what one gzip member holds.
    size = 9 * 1024 * 1024
    length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 21])
    Path("big.wasm").write_bytes(b"\0asm\1\0\0\0\0" + length + b"\1x" + os.urandom(size - 2))
    pack("big.wasm", output="big.oci", compression=compression)
    extract("big.oci", "out.wasm")
    assert Path("out.wasm").read_bytes() == Path("big.wasm").read_bytes()


def test_of_an_index_the_only_wasm_one_or_the_one_asked_for() -> None:
    pack(WASM, NATIVE, output="many.oci")
    extract("many.oci", "a")
    extract("many.oci", "b", platform="linux/amd64")
    assert Path("a").read_bytes() == WASM.read_bytes()
    assert Path("b").read_bytes() == NATIVE.read_bytes()
    assert (os.access("a", os.X_OK), os.access("b", os.X_OK)) == (False, True)


def test_its_own_name_unless_that_is_taken() -> None:
    pack(WASM, output="a.oci")
    assert extract("a.oci").path == "hello.wasm"
    with pytest.raises(UsageError) as caught:
        extract("a.oci")
    assert caught.value.code == "output-exists"


def test_to_the_standard_output() -> None:
    pack(WASM, output="a.oci")
    assert CliRunner().invoke(cli, ["extract", "a.oci", "-o", "-"]).stdout_bytes == WASM.read_bytes()


def test_a_damaged_layer_leaves_no_file() -> None:
    packed = pack(WASM, output="a.oci", format="artifact")
    blob = Path("a.oci/blobs") / str(Digest.of(WASM.read_bytes())).replace(":", "/")
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(data)
    with pytest.raises(ContentError) as caught:
        extract("a.oci", "out.wasm")
    assert caught.value.code == "digest-mismatch"
    assert packed.digest
    assert sorted(os.listdir()) == ["a.oci"]


def test_no_program_where_the_entrypoint_points() -> None:
    pack(WASM, output="a.oci", entrypoint="/other.wasm", add=(f"{NATIVE}:/second",))
    with pytest.raises(ContentError, match=r"other\.wasm") as caught:
        extract("a.oci", "out")
    assert caught.value.code == "program-missing"
