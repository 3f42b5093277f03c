"""A blob on its way out, broken off and gone on with: what was read ahead of the sending is hashed once all the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ocibuild.content.blob import BLOCK, Blob, Bytes, Content
from ocibuild.content.flow import Flow
from ocibuild.errors import ContentError
from ocibuild.registry.stream import Reading
from ocibuild.spec.descriptor import Descriptor
from ocibuild.store.base import Stored
from ocibuild.store.layout import LayoutStore

DATA = random.Random(11).randbytes(12 * BLOCK + 77)
BLOB = Descriptor.of("application/octet-stream", DATA)


def kept(folder: Path, data: bytes) -> Content:
    """In a layout, whose reader verifies by itself."""
    with Flow.open() as flow, LayoutStore(folder) as store:
        store.push(Blob.of(BLOB.media_type, DATA), flow)
        store.tag(BLOB, "1")
    (folder / "blobs" / BLOB.digest.algorithm / BLOB.digest.hex).write_bytes(data)
    return Stored(LayoutStore(folder), BLOB)


def sent(reading: Reading, start: int, length: int, stop: int) -> bytes:
    """What one attempt sends of `length` bytes from `start` on, when the line breaks after `stop`."""
    found = bytearray()
    with reading.piece(start, length) as body:
        while len(found) < stop and (piece := body.read(256 * 1024)):
            found += piece
    return bytes(found)


@pytest.mark.parametrize("verifies", [True, False], ids=["layout", "memory"])
@pytest.mark.parametrize("resumed", [0, 1, 2 * BLOCK, 3 * BLOCK - 5])
def test_it_goes_on_where_the_other_side_is(tmp_path: Path, verifies: bool, resumed: int) -> None:
    content = kept(tmp_path / "image", DATA) if verifies else Bytes(DATA)
    with Flow.open() as flow:
        reading = Reading(Blob(BLOB, content), flow, lambda amount: None)
        first = sent(reading, 0, len(DATA), 3 * BLOCK)
        assert first == DATA[: len(first)]
        again = sent(reading, resumed, len(DATA) - resumed, 5 * BLOCK)
        assert again == DATA[resumed : resumed + len(again)]
        last = sent(reading, 4 * BLOCK, len(DATA) - 4 * BLOCK, len(DATA))
    assert last == DATA[4 * BLOCK :]


@pytest.mark.parametrize("verifies", [True, False], ids=["layout", "memory"])
@pytest.mark.parametrize("at", [0, 5 * BLOCK, len(DATA) - 1])
def test_what_is_wrong_is_seen_whatever_was_sent_twice(tmp_path: Path, verifies: bool, at: int) -> None:
    wrong = DATA[:at] + bytes([DATA[at] ^ 1]) + DATA[at + 1 :]
    content = kept(tmp_path / "image", wrong) if verifies else Bytes(wrong)
    with Flow.open() as flow:
        reading = Reading(Blob(BLOB, content), flow, lambda amount: None)
        sent(reading, 0, len(DATA), 2 * BLOCK)
        with pytest.raises(ContentError) as caught:
            sent(reading, BLOCK, len(DATA) - BLOCK, len(DATA))
    assert caught.value.code == "digest-mismatch"
