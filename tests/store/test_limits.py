"""Graphs and layouts that are hostile or broken end in our errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.errors import ContentError, StoreError
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Index
from ocibuild.store.base import fetch
from ocibuild.store.graph import MAX_DEPTH, walk
from ocibuild.store.layout import LayoutStore
from ocibuild.store.memory import MemoryStore


def nested(store: MemoryStore, depth: int) -> Descriptor:
    """An index in an index, `depth` deep."""
    with Flow.open(lambda event: None) as flow:
        made = Blob.of(mediatype.INDEX, Index(()).to_bytes())
        store.push(made, flow)
        for _ in range(depth):
            made = Blob.of(mediatype.INDEX, Index((made.descriptor,)).to_bytes())
            store.push(made, flow)
    return made.descriptor


def test_indexes_are_followed_to_a_depth_and_no_further() -> None:
    store = MemoryStore()
    assert len(list(walk(store, nested(store, MAX_DEPTH)))) == MAX_DEPTH + 1
    with pytest.raises(ContentError) as caught:
        list(walk(store, nested(store, MAX_DEPTH + 1)))
    assert caught.value.code == "graph-too-deep"


def test_a_blob_that_is_no_file_cannot_be_read(tmp_path: Path) -> None:
    made = Blob.of("text/plain", b"hello")
    with LayoutStore(tmp_path / "made") as store, Flow.open(lambda event: None) as flow:
        store.push(made, flow)
        store.tag(made.descriptor, "1")
    path = tmp_path / "made" / "blobs" / str(made.descriptor.digest).replace(":", "/")
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError) as caught:
        fetch(LayoutStore(tmp_path / "made"), made.descriptor)
    assert caught.value.code == "store-unreadable"
    assert json.loads((tmp_path / "made" / "index.json").read_bytes())["manifests"]
