"""Reading ahead: the same bytes and the same errors, one thread earlier."""

from __future__ import annotations

import io
import random
import threading
import time
from typing import BinaryIO, cast

import pytest

from ocibuild.content.ahead import ahead
from ocibuild.content.blob import BLOCK, Bytes
from ocibuild.content.flow import Flow
from ocibuild.content.verify import verifying
from ocibuild.errors import ContentError
from ocibuild.spec.descriptor import Descriptor

DATA = random.Random(7).randbytes(9 * BLOCK + 12_345)
BLOB = Descriptor.of("application/octet-stream", DATA)


class Noted(io.RawIOBase):
    """A stream that knows which threads read it, and how far; it gives at most `most` bytes at a time."""

    def __init__(self, data: bytes, most: int = 1 << 30) -> None:
        super().__init__()
        self.stream, self.most = io.BytesIO(data), most
        self.threads: set[int] = set()

    def read(self, amount: int = -1, /) -> bytes:
        self.threads.add(threading.get_ident())
        return self.stream.read(min(amount, self.most))


def opened(stream: object) -> BinaryIO:
    return cast(BinaryIO, stream)


@pytest.mark.parametrize("amount", [BLOCK, 3 * BLOCK, 100_000, 7_777_777])
@pytest.mark.parametrize("most", [1 << 30, 300_001, 16_384])
def test_what_is_read_is_the_same_whatever_is_asked_for(amount: int, most: int) -> None:
    stream, found = Noted(DATA, most), bytearray()
    with Flow.open() as flow, ahead(opened(stream), len(DATA), flow) as reader:
        while piece := reader.read(amount):
            assert len(piece) <= amount
            found += piece
        assert reader.read(amount) == b""
    assert found == DATA
    assert stream.threads - {threading.get_ident()}, "nobody read ahead"


def test_no_more_is_read_ahead_than_was_said() -> None:
    size, stream, found = 5 * BLOCK + 1, Noted(DATA), bytearray()
    with Flow.open() as flow, ahead(opened(stream), size, flow) as reader:
        while len(found) < size:
            found += reader.read(BLOCK)
        assert stream.stream.tell() == size
        assert reader.read(1) == DATA[size : size + 1], "what comes after is still there to be asked for"
    assert found == DATA[:size]


def test_at_most_four_blocks_are_held() -> None:
    stream = Noted(DATA)
    with Flow.open() as flow, ahead(opened(stream), len(DATA), flow) as reader:
        reader.read(BLOCK)
        deadline = time.monotonic() + 5
        while stream.stream.tell() < 6 * BLOCK and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert stream.stream.tell() <= 6 * BLOCK  # one was taken, four wait, one is in hand


def test_what_is_small_is_left_as_it_is() -> None:
    stream = Bytes(DATA[:BLOCK]).open()
    with Flow.open() as flow, stream as opened_stream, ahead(opened_stream, BLOCK, flow) as reader:
        assert reader is opened_stream


def drained(stream: object, got: list[int], flow: Flow) -> None:
    with ahead(opened(stream), BLOB.size, flow) as reader:
        while piece := reader.read(BLOCK):
            got.append(len(piece))


@pytest.mark.parametrize("data", [DATA[:-1] + b"!", DATA[:-1], DATA + b"!"], ids=["other", "short", "long"])
def test_the_last_bytes_come_after_the_verdict(data: bytes) -> None:
    got: list[int] = []
    with Flow.open() as flow:
        with pytest.raises(ContentError):
            drained(verifying(io.BytesIO(data), BLOB), got, flow)
        assert sum(got) < BLOB.size
        drained(verifying(io.BytesIO(DATA), BLOB), got := [], flow)
        assert sum(got) == BLOB.size


def test_leaving_early_ends_the_reading() -> None:
    stream = Noted(DATA)
    with Flow.open() as flow:
        with ahead(opened(stream), len(DATA), flow) as reader:
            reader.read(BLOCK)
        position = stream.stream.tell()
        assert position < len(DATA)
        time.sleep(0.2)
        assert stream.stream.tell() == position, "the thread went on"
