"""How a copy shares its work out among threads, and how one's failure ends the others' work."""

from __future__ import annotations

import threading
import time

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.errors import StoreError
from ocibuild.spec import mediatype
from ocibuild.spec.manifest import Manifest
from ocibuild.store.base import Pushed
from ocibuild.store.copy import copy
from ocibuild.store.memory import MemoryStore

CONFIG = Blob.of(mediatype.CONFIG, b"{}")
LAYER = Blob.of(mediatype.LAYER, b"a layer")
ROOT = Blob.of(mediatype.MANIFEST, Manifest(CONFIG.descriptor, (LAYER.descriptor,)).to_bytes())


@pytest.fixture
def source() -> MemoryStore:
    store = MemoryStore()
    with Flow.open(cpu=1, io=1) as flow:
        for blob in (CONFIG, LAYER, ROOT):
            store.push(blob, flow)
    return store


def test_the_smallest_blob_goes_from_the_thread_that_waits(source: MemoryStore) -> None:
    class Target(MemoryStore):
        def push(self, blob: Blob, flow: Flow) -> Pushed:
            by[blob.descriptor.digest] = threading.current_thread()
            return super().push(blob, flow)

    by: dict[str, threading.Thread] = {}
    with Flow.open(cpu=1, io=4) as flow:
        copied = copy(source, ROOT.descriptor, Target(), names=["1"], flow=flow)
    here = threading.current_thread()
    assert [by[blob.descriptor.digest] is here for blob in (CONFIG, LAYER, ROOT)] == [True, False, True]
    assert len(copied.written) == 3


def test_a_failure_on_another_thread_ends_the_work_of_this_one(source: MemoryStore) -> None:
    class Target(MemoryStore):
        def push(self, blob: Blob, flow: Flow) -> Pushed:
            if blob.descriptor == LAYER.descriptor:
                raise StoreError("the disk is full", code="not-writable")
            flow.cancel.wait(20)
            return Pushed.WRITTEN

    began = time.monotonic()
    with Flow.open(cpu=1, io=4) as flow, pytest.raises(StoreError, match="the disk is full"):
        copy(source, ROOT.descriptor, Target(), flow=flow)
    assert time.monotonic() - began < 10


def test_the_root_is_read_once(source: MemoryStore) -> None:
    opened: list[str] = []
    real = source.open

    def counted(descriptor, offset=0):  # type: ignore[no-untyped-def]
        opened.append(descriptor.digest)
        return real(descriptor, offset)

    source.open = counted  # type: ignore[method-assign]
    with Flow.open(cpu=1, io=4) as flow:
        copy(source, ROOT.descriptor, MemoryStore(), names=["1"], flow=flow)
    assert sorted(opened) == sorted(blob.descriptor.digest for blob in (CONFIG, LAYER, ROOT))
