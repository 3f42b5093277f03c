"""Compressors: whole members and frames that other programs read, the same bytes whoever asks. RFC 1952, RFC 8878."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import shutil
import struct
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ocibuild.content import codec
from ocibuild.errors import UsageError

DATA = random.Random(7).randbytes(300_000) + b"the same again and again " * 90_000

NAMES = ["gzip", "gzip:1", "gzip:6", "gzip:12", "gzip-single", "gzip-single:9", "zstd", "zstd:1", "zstd:19", "none"]


def encoded(name: str, data: bytes) -> bytes:
    chosen = codec.parse(name)
    block = chosen.block(len(data))
    return b"".join(chosen.encode(data[at : at + block]) for at in range(0, len(data), block))


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_back_through_our_reader(name: str) -> None:
    kind = {"g": "gzip", "z": "zstd", "n": "none"}[name[0]]
    reader = codec.decompressed(io.BytesIO(encoded(name, DATA)), kind, "a layer")
    back = bytearray()
    while piece := reader.read(100_000):
        back += piece
    assert back == DATA


@pytest.mark.parametrize("name", ["gzip", "gzip-single:6"])
def test_the_standard_library_reads_gzip(name: str) -> None:
    assert gzip.decompress(encoded(name, DATA)) == DATA


def test_many_members_are_one_file_to_gzip() -> None:
    chosen = codec.parse("gzip:1")
    members = [chosen.encode(DATA[at : at + 100_000]) for at in range(0, len(DATA), 100_000)]
    assert len(members) > 10
    assert gzip.decompress(b"".join(members)) == DATA


@pytest.mark.skipif(shutil.which("gzip") is None, reason="no gzip here")
def test_the_systems_gzip_reads_several_members() -> None:
    chosen = codec.parse("gzip:1")
    data = b"".join(chosen.encode(DATA[at : at + 500_000]) for at in range(0, len(DATA), 500_000))
    done = subprocess.run(["gzip", "-dc"], input=data, capture_output=True, timeout=60, check=True)
    assert done.stdout == DATA


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd here")
def test_the_systems_zstd_reads_several_frames() -> None:
    done = subprocess.run(["zstd", "-dc"], input=encoded("zstd:3", DATA), capture_output=True, timeout=60, check=True)
    assert done.stdout == DATA


def test_a_member_has_no_name_no_time_and_an_unknown_system() -> None:
    # RFC 1952, 2.3: ID1 ID2 CM FLG MTIME XFL OS; 255 is "unknown"
    magic, method, flags, mtime, _, system = struct.unpack("<HBBIBB", codec.parse("gzip:1").encode(b"x")[:10])
    assert (magic, method, flags, mtime, system) == (0x8B1F, 8, 0, 0, 255)


def test_a_gzip_up_to_eight_mebibytes_is_one_member_a_larger_one_is_many() -> None:
    chosen = codec.parse("gzip:1")
    limit = 8 * 1024 * 1024
    assert chosen.block(limit) == limit
    assert chosen.block(limit + 1) == 1024 * 1024
    assert codec.parse("gzip-single").block(10 * limit) == 10 * limit
    assert chosen.block(0) == 1
    member = zlib.decompressobj(31)
    member.decompress(encoded("gzip:1", DATA))
    assert member.unused_data == b""


def test_a_frame_carries_its_size_and_a_checksum() -> None:
    frame = codec.parse("zstd:3").encode(DATA[:5000])
    parameters = zstandard.get_frame_parameters(frame)
    assert (parameters.content_size, parameters.has_checksum) == (5000, True)


def test_a_damaged_frame_is_noticed() -> None:
    data = bytearray(encoded("gzip", b"x" * 1000))
    data[-6] ^= 1
    with pytest.raises(gzip.BadGzipFile):
        codec.decompressed(io.BytesIO(bytes(data)), "gzip", "a layer").read()


@pytest.mark.parametrize("name", NAMES)
def test_threads_and_repetition_change_nothing(name: str) -> None:
    chosen = codec.parse(name)
    blocks = [DATA[at : at + 200_000] for at in range(0, len(DATA), 200_000)][:5]
    alone = [chosen.encode(block) for block in blocks]
    for workers in (1, 2, 8):
        with ThreadPoolExecutor(workers) as pool:
            assert list(pool.map(chosen.encode, blocks)) == alone
    assert [chosen.encode(memoryview(block)) for block in blocks] == alone
    assert [chosen.encode(bytearray(block)) for block in blocks] == alone


def test_the_pinned_compressors_write_what_they_always_wrote() -> None:
    # Written down on x86-64 with deflate 0.9.0 and zstandard 0.25.0; decision 5 promises them on every machine.
    text = b"".join(b"line %d of a text that repeats itself\n" % n for n in range(2000))
    found = {
        name: hashlib.sha256(encoded(name, text)).hexdigest() for name in ("gzip:1", "gzip:12", "zstd:3", "zstd:19")
    }
    assert found == GOLDEN


GOLDEN = {
    "gzip:1": "79ce5332d88e878b2e1d3fb7d1171b5fdadf2ef9bd34aad49a2b83c0deb725e5",
    "gzip:12": "40ca5e1cd21ec7790527fed8a67b00b4985a529178465f845d663775fb8c9a60",
    "zstd:3": "b3b4014a90c827b59ec734b40ad861ccc4f52e12c6c3e913f5dee91521e51063",
    "zstd:19": "5a0382f7c71b43466925390c403d78a8a26b87d9bfe681d5d2e30d547b8b4ba9",
}


@pytest.mark.parametrize(
    "text, name, media_type",
    [
        ("gzip", "gzip:1", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("gzip:9", "gzip:9", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("gzip-single", "gzip-single:1", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("zstd", "zstd:2", "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("zstd:22", "zstd:22", "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("none", "none", "application/vnd.oci.image.layer.v1.tar"),
    ],
)
def test_a_compression_has_a_name_a_media_type_and_an_identity(text: str, name: str, media_type: str) -> None:
    chosen = codec.parse(text)
    assert (chosen.name, chosen.media_type) == (name, media_type)
    assert codec.parse(chosen.name) == chosen
    assert chosen.identity == "none" or "level" in chosen.identity


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lz4",
        "gzip:0",
        "gzip:13",
        "gzip:",
        "gzip:x",
        "gzip:-1",
        "gzip:٣",
        "zstd:23",
        "zstd:0",
        "none:1",
        "gzip:" + "1" * 5000,
    ],
)
def test_an_unknown_compression_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        codec.parse(text)
    assert caught.value.code == "compression-invalid"
    assert caught.value.hint


def test_an_unknown_compression_is_not_read() -> None:
    with pytest.raises(UsageError):
        codec.decompressed(io.BytesIO(), "bzip2", "a layer")


@settings(max_examples=30)
@given(st.binary(max_size=3000), st.sampled_from(NAMES))
def test_any_bytes_read_back(data: bytes, name: str) -> None:
    chosen = codec.parse(name)
    kind = {"g": "gzip", "z": "zstd", "n": "none"}[name[0]]
    assert codec.decompressed(io.BytesIO(chosen.encode(data)), kind, "").read(10_000) == data
