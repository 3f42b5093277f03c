"""The contract of a store, as a suite for pytest: bind it to yours in a few lines.

    class TestMyStore(StoreContract):
        def make(self, folder):
            return MyStore(folder)

A target that ingests is held to the whole of it. A store that only shows its content once it was left, as an archive
does, says in `reopened` how it is read then.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from ocibuild.content.blob import Blob, Bytes
from ocibuild.content.flow import Flow
from ocibuild.errors import ContentError, NotFoundError
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.spec.platform import Platform
from ocibuild.store.base import Ingests, Pushed, Roots, Sink, Source, Target, fetch
from ocibuild.store.copy import copy
from ocibuild.store.graph import walk
from ocibuild.store.memory import MemoryStore

LEAF = Blob.of("application/wasm", b"\0asm\1\0\0\0")


def image(seed: bytes) -> list[Blob]:
    """A small image: its layer, its config and, last, its manifest."""
    layer = Blob.of(mediatype.LAYER, seed * 1000)
    config = Blob.of(mediatype.CONFIG, b'{"architecture":"wasm","os":"wasi","x":"%s"}' % seed.hex().encode())
    manifest = Manifest(config.descriptor, (layer.descriptor,))
    return [layer, config, Blob.of(manifest.media_type, manifest.to_bytes())]


def index(*images: list[Blob]) -> list[Blob]:
    """Images under one index, which stands last."""
    entries = tuple(
        blobs[-1].descriptor.with_platform(Platform("linux", f"machine{n}")) for n, blobs in enumerate(images)
    )
    document = Index(entries)
    return [blob for blobs in images for blob in blobs] + [Blob.of(document.media_type, document.to_bytes())]


class Broken(RuntimeError):
    """What goes wrong in these tests."""


def _write_and_break(sink: Sink) -> NoReturn:
    sink.write(b"\0asm")
    raise Broken


def _fill_and_break(store: Target, flow: Flow) -> NoReturn:
    for blob in image(b"a"):
        store.push(blob, flow)
    store.tag(image(b"a")[-1].descriptor, "1")
    raise Broken


class StoreContract:
    """Subclass it under a name that begins with Test, and give `make`; see the module."""

    def make(self, folder: Path) -> Target:
        """A new, empty store; `folder` is this test's own. Called again with the same folder it is the same store,
        where stores outlive their objects."""
        raise NotImplementedError

    def reopened(self, store: Target, folder: Path) -> Source:
        """How the store is read after it was left."""
        return store

    @pytest.fixture
    def flow(self) -> Iterator[Flow]:
        """Threads for a test."""
        with Flow.open(cpu=2, io=4) as flow:
            yield flow

    @contextmanager
    def filled(self, folder: Path, flow: Flow, *roots: tuple[str | None, list[Blob]]) -> Iterator[Source]:
        """A store with these images under these names, left and opened again."""
        store = self.make(folder)
        with store:
            for name, blobs in roots:
                for blob in blobs:
                    store.push(blob, flow)
                store.tag(blobs[-1].descriptor, name)
        yield self.reopened(store, folder)

    def test_what_was_pushed_is_there_and_reads_back(self, tmp_path: Path, flow: Flow) -> None:
        """Whole, from an offset, and as often as asked."""
        blobs = image(b"a")
        with self.filled(tmp_path, flow, ("1", blobs)) as store:
            for blob in blobs:
                assert store.exists(blob.descriptor)
                with blob.content.open() as expected:
                    data = expected.read()
                for _ in range(2):
                    assert fetch(store, blob.descriptor) == data
                with store.open(blob.descriptor, 3) as stream:
                    assert stream.read() == data[3:]

    def test_pushing_twice_is_pushing_once(self, tmp_path: Path, flow: Flow) -> None:
        """The second push finds it there."""
        with ExitStack() as stack:
            store = stack.enter_context(self.make(tmp_path))
            assert store.push(LEAF, flow) is Pushed.WRITTEN
            assert store.push(LEAF, flow) is Pushed.EXISTED
            assert store.exists(LEAF.descriptor)
            self._finish(store, flow)

    def test_wrong_bytes_are_refused_and_leave_nothing(self, tmp_path: Path, flow: Flow) -> None:
        """Another digest, too few bytes, too many."""
        with ExitStack() as stack:
            store = stack.enter_context(self.make(tmp_path))
            for data in (b"\0asm\1\0\0\1", b"\0asm", b"\0asm\1\0\0\0more"):
                with pytest.raises(ContentError):
                    store.push(Blob(LEAF.descriptor, Bytes(data)), flow)
                assert not store.exists(LEAF.descriptor)
            self._finish(store, flow)

    def test_what_is_not_there_is_missed(self, tmp_path: Path, flow: Flow) -> None:
        """By `exists`, by `open`, and by every kind of name."""
        with self.filled(tmp_path, flow, ("1", image(b"a"))) as store:
            assert not store.exists(LEAF.descriptor)
            with pytest.raises(NotFoundError) as caught, store.open(LEAF.descriptor):
                pass
            assert caught.value.code == "blob-missing"
            for name in ("2", str(LEAF.descriptor.digest), "localhost:5000/hello:1"):
                with pytest.raises(NotFoundError) as unknown:
                    store.resolve(name)
                assert unknown.value.code == "not-found"

    def test_a_name_is_a_tag_a_digest_or_nothing(self, tmp_path: Path, flow: Flow) -> None:
        """The empty name is the only root."""
        blobs = image(b"a")
        with self.filled(tmp_path, flow, ("1", blobs)) as store:
            for name in ("1", "", str(blobs[-1].descriptor.digest)):
                assert store.resolve(name).key == blobs[-1].descriptor.key

    def test_a_digest_inside_an_image_is_found(self, tmp_path: Path, flow: Flow) -> None:
        """The manifest of one platform out of an index."""
        inner = image(b"a")
        with self.filled(tmp_path, flow, ("1", index(inner, image(b"b")))) as store:
            assert store.resolve(str(inner[-1].descriptor.digest)).key == inner[-1].descriptor.key

    def test_several_roots_are_told_apart(self, tmp_path: Path, flow: Flow) -> None:
        """The empty name is then ambiguous, and the error says so."""
        one, two = image(b"a"), image(b"b")
        with self.filled(tmp_path, flow, ("1", one), ("2", two)) as store:
            assert store.resolve("1").digest == one[-1].descriptor.digest
            assert store.resolve("2").digest == two[-1].descriptor.digest
            with pytest.raises(NotFoundError) as caught:
                store.resolve("")
            assert caught.value.code == "ambiguous"
            assert isinstance(store, Roots)
            assert [name for name, _ in store.roots()] == ["1", "2"]

    def test_a_name_moves(self, tmp_path: Path, flow: Flow) -> None:
        """The last to take it has it."""
        one, two = image(b"a"), image(b"b")
        with self.filled(tmp_path, flow, ("1", one), ("1", two)) as store:
            assert store.resolve("1").digest == two[-1].descriptor.digest

    def test_an_untagged_root_is_found(self, tmp_path: Path, flow: Flow) -> None:
        """By its digest, and by nothing."""
        blobs = image(b"a")
        with self.filled(tmp_path, flow, (None, blobs)) as store:
            assert store.resolve("").digest == blobs[-1].descriptor.digest
            assert isinstance(store, Roots)
            assert [name for name, _ in store.roots()] == [None]

    def test_content_of_unknown_digest_is_taken_in(self, tmp_path: Path, flow: Flow) -> None:
        """In pieces; left without a commit, nothing remains."""
        with ExitStack() as stack:
            store = stack.enter_context(self.make(tmp_path))
            if not isinstance(store, Ingests):
                pytest.skip("this store takes only what is known")
            with pytest.raises(Broken), store.sink() as sink:
                _write_and_break(sink)
            assert not store.exists(LEAF.descriptor)
            for expected in (Pushed.WRITTEN, Pushed.EXISTED):
                with store.sink() as sink:
                    for piece in (b"\0asm", bytearray(b"\1\0"), memoryview(b"\0\0")):
                        sink.write(piece)
                    assert sink.commit(LEAF.descriptor.digest, 8) is expected
            assert fetch(store, LEAF.descriptor) == b"\0asm\1\0\0\0"
            self._finish(store, flow)

    def test_an_exception_rolls_back(self, tmp_path: Path, flow: Flow) -> None:
        """The folder is as it was, and so is what the store held."""
        before = sorted(tmp_path.rglob("*"))
        store = self.make(tmp_path)
        with pytest.raises(Broken), store:
            _fill_and_break(store, flow)
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_graph_is_copied_whole_and_a_second_time_for_nothing(self, tmp_path: Path, flow: Flow) -> None:
        """Into the store and out of it again, byte for byte."""
        source, back = MemoryStore("source"), MemoryStore("back")
        blobs = index(image(b"a"), image(b"b"))
        for blob in blobs:
            source.push(blob, flow)
        root = blobs[-1].descriptor
        store = self.make(tmp_path)
        with store:
            first = copy(source, root, store, names=["1"], flow=flow)
            again = copy(source, root, store, names=["1"], flow=flow)
        assert (len(first.written), len(first.existed)) == (7, 0)
        assert (len(again.written), len(again.existed)) == (0, 7)
        assert first.bytes_written == sum(blob.descriptor.size for blob in blobs)
        reader = self.reopened(store, tmp_path)
        copy(reader, reader.resolve("1"), back, flow=flow)
        assert back.blobs == source.blobs
        assert [d.digest for d in walk(reader, root)] == [d.digest for d in walk(source, root)]

    def test_many_threads_push_at_once(self, tmp_path: Path, flow: Flow) -> None:
        """The same blobs from several of them, too."""
        blobs = [Blob.of("application/x", b"%d" % n * 100) for n in range(20)]
        with ExitStack() as stack:
            store = stack.enter_context(self.make(tmp_path))
            done = [flow.io.submit(store.push, blob, flow) for blob in blobs * 3]
            outcomes = [future.result(60) for future in done]
            assert all(outcome in (Pushed.WRITTEN, Pushed.EXISTED) for outcome in outcomes)
            assert all(fetch(store, blob.descriptor) for blob in blobs)
            self._finish(store, flow)

    def test_a_large_document_is_not_fetched(self, tmp_path: Path, flow: Flow) -> None:
        """The descriptor's size decides, before anything is read."""
        with self.filled(tmp_path, flow, ("1", image(b"a"))) as store:
            large = Descriptor(mediatype.MANIFEST, LEAF.descriptor.digest, 5 * 1024 * 1024)
            with pytest.raises(ContentError) as caught:
                fetch(store, large)
            assert caught.value.code == "document-too-large"

    def test_reading_is_verified(self, tmp_path: Path, flow: Flow) -> None:
        """A descriptor with another size than the content has does not pass."""
        blobs = image(b"a")
        with self.filled(tmp_path, flow, ("1", blobs)) as store:
            right = blobs[0].descriptor
            wrong = Descriptor(right.media_type, right.digest, right.size - 1)
            assert not store.exists(wrong)
            with pytest.raises((ContentError, NotFoundError)), store.open(wrong) as stream:
                io.BufferedReader(stream).read()  # type: ignore[type-var]

    def _finish(self, store: Target, flow: Flow) -> None:
        # Some stores cannot be left empty: an archive of nothing is none.
        for blob in image(b"z"):
            store.push(blob, flow)
        store.tag(image(b"z")[-1].descriptor, "z")
