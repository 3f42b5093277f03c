"""Content that opens again, and the reader that checks what it reads."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocibuild.content.blob import Blob, Bytes, File
from ocibuild.content.verify import VerifyReader, read_verified
from ocibuild.errors import ContentError, InputError
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest

TYPE = "application/octet-stream"


def test_bytes_open_as_often_as_asked() -> None:
    content = Bytes(b"hello")
    assert content.size == 5
    for offset, expected in ((0, b"hello"), (2, b"llo"), (5, b""), (0, b"hello")):
        with content.open(offset) as stream:
            assert stream.read() == expected


def test_a_file_opens_as_often_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    part = File(str(path), 4, start=3)
    for offset, expected in ((0, b"3456789"), (2, b"56789")):
        with part.open(offset) as stream:
            assert stream.read() == expected


def test_a_changed_file_is_noticed_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123")
    content = File(str(path), 4, mtime_ns=path.stat().st_mtime_ns)
    with content.open() as stream:
        assert stream.read() == b"0123"
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError) as caught, content.open():
        pass
    assert caught.value.code == "input-changed"
    path.unlink()
    with pytest.raises(InputError) as gone, content.open():
        pass
    assert gone.value.code == "input-unreadable"


def verified(data: bytes, descriptor: Descriptor, size: int = 3) -> bytes:
    reader = VerifyReader(io.BytesIO(data), descriptor, "there")
    out = bytearray()
    while piece := reader.read(size):
        out += piece
    return bytes(out)


@given(st.binary(max_size=100), st.integers(1, 120))
def test_right_bytes_pass_whatever_the_reads(data: bytes, size: int) -> None:
    assert verified(data, Descriptor.of(TYPE, data), size) == data


def test_sha512_is_checked_by_its_own_algorithm() -> None:
    digest = Digest("sha512:" + hashlib.sha512(b"abc").hexdigest())
    assert verified(b"abc", Descriptor(TYPE, digest, 3)) == b"abc"
    with pytest.raises(ContentError):
        verified(b"abd", Descriptor(TYPE, digest, 3))


@given(st.binary(min_size=1, max_size=60), st.data())
def test_one_changed_bit_is_noticed_before_the_end_is_given_out(data: bytes, choice: st.DataObject) -> None:
    at = choice.draw(st.integers(0, len(data) * 8 - 1))
    wrong = bytearray(data)
    wrong[at // 8] ^= 1 << at % 8
    with pytest.raises(ContentError) as caught:
        verified(bytes(wrong), Descriptor.of(TYPE, data))
    assert caught.value.code == "digest-mismatch"
    assert "there" in caught.value.message


@pytest.mark.parametrize("data", [b"", b"ab", b"abcd", b"abc" * 1000])
def test_another_length_is_noticed(data: bytes) -> None:
    with pytest.raises(ContentError) as caught:
        verified(data, Descriptor.of(TYPE, b"abc"))
    assert caught.value.code == "size-mismatch"


def test_reading_exactly_the_size_is_enough_to_have_it_verified() -> None:
    with pytest.raises(ContentError):
        VerifyReader(io.BytesIO(b"abd"), Descriptor.of(TYPE, b"abc")).read(3)
    with pytest.raises(ContentError):
        VerifyReader(io.BytesIO(b"x"), Descriptor.of(TYPE, b""))


def test_it_is_a_stream_to_others() -> None:
    reader = VerifyReader(cast(BinaryIO, io.BytesIO(b"abc")), Descriptor.of(TYPE, b"abc"))
    assert reader.readable()
    assert reader.read(0) == b""
    assert io.BufferedReader(reader).read() == b"abc"
    assert read_verified(io.BytesIO(b"abc"), Descriptor.of(TYPE, b"abc")) == b"abc"


def test_a_blob_of_bytes_describes_them() -> None:
    blob = Blob.of(TYPE, b"abc")
    assert blob.descriptor.digest == "sha256:" + hashlib.sha256(b"abc").hexdigest()
    assert blob.content.size == blob.descriptor.size == 3
