"""What each store has of its own: merging names, reading what others wrote, failures on the way."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Cancel, Event, Flow
from ocibuild.errors import Cancelled, ContentError, NotFoundError, OcibuildError, StoreError
from ocibuild.spec import annotation, mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Index
from ocibuild.store.archive import ArchiveReader, ArchiveWriter
from ocibuild.store.base import Pushed, fetch
from ocibuild.store.copy import copy
from ocibuild.store.graph import successors, walk
from ocibuild.store.layout import LayoutStore
from ocibuild.store.memory import MemoryStore
from ocibuild.testing.contract import image


def filled(store: Any, *roots: tuple[str | None, list[Blob], dict[str, str]]) -> Any:
    with Flow.open(cpu=1, io=2) as flow, store:
        for name, blobs, annotations in roots:
            for blob in blobs:
                store.push(blob, flow)
            store.tag(blobs[-1].descriptor.with_annotations(annotations), name)
    return store


def names(place: Path) -> list[tuple[str | None, str | None]]:
    entries = json.loads((place / "index.json").read_bytes())["manifests"]
    found = [entry.get("annotations", {}) for entry in entries]
    return [(a.get(annotation.REF_NAME), a.get(annotation.CONTAINERD_NAME)) for a in found]


def test_one_tag_in_two_registries_is_two_names_of_one_image(tmp_path: Path) -> None:
    place, one, two = tmp_path / "a.oci", image(b"a"), image(b"b")
    full = annotation.CONTAINERD_NAME
    filled(
        LayoutStore(place),
        ("1", one, {full: "a.io/x:1"}),
        ("1", one, {full: "b.io/x:1"}),
        ("1", one, {full: "b.io/x:1"}),
    )
    assert names(place) == [("1", "a.io/x:1"), ("1", "b.io/x:1")]
    assert LayoutStore(place).resolve("b.io/x:1").digest == one[-1].descriptor.digest
    filled(LayoutStore(place), ("1", two, {full: "a.io/x:1"}))
    assert names(place) == [("1", "a.io/x:1")]


def test_an_untagged_root_stands_once_and_gets_a_name_later(tmp_path: Path) -> None:
    place, one = tmp_path / "a.oci", image(b"a")
    filled(LayoutStore(place), (None, one, {}), (None, one, {}))
    assert names(place) == [(None, None)]
    filled(LayoutStore(place), ("1", one, {}))
    assert names(place) == [("1", None)]
    filled(LayoutStore(place), (None, one, {}))
    assert names(place) == [("1", None)]


def test_what_others_wrote_into_an_index_stays(tmp_path: Path) -> None:
    place = filled(LayoutStore(tmp_path / "a.oci"), ("1", image(b"a"), {})).path
    document = json.loads((place / "index.json").read_bytes())
    document["annotations"] = {"org.example.kept": "yes"}
    del document["mediaType"]  # image-layout.md: index.json's mediaType is optional
    (place / "index.json").write_text(json.dumps(document, indent=2))
    filled(LayoutStore(place), ("2", image(b"b"), {}))
    assert json.loads((place / "index.json").read_bytes())["annotations"] == {"org.example.kept": "yes"}
    assert [name for name, _ in names(place)] == ["1", "2"]


def test_sha512_blobs_have_a_folder_of_their_own(tmp_path: Path) -> None:
    import hashlib

    from ocibuild.content.blob import Bytes
    from ocibuild.spec.digest import Digest

    blob = Blob(Descriptor("application/x", Digest("sha512:" + hashlib.sha512(b"x").hexdigest()), 1), Bytes(b"x"))
    place = filled(LayoutStore(tmp_path / "a.oci"), ("1", [blob, *image(b"a")], {})).path
    assert (place / "blobs" / "sha512" / blob.descriptor.digest.hex).read_bytes() == b"x"
    assert fetch(LayoutStore(place), blob.descriptor) == b"x"


def test_a_damaged_blob_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    blobs = image(b"a")
    place = filled(LayoutStore(tmp_path / "a.oci"), ("1", blobs, {})).path
    path = place / "blobs" / "sha256" / blobs[0].descriptor.digest.hex
    path.write_bytes(b"b" * blobs[0].descriptor.size)
    with pytest.raises(ContentError) as caught:
        fetch(LayoutStore(place), blobs[0].descriptor)
    assert caught.value.code == "digest-mismatch"


def layout_error(act: Callable[[], object], code: str) -> None:
    with pytest.raises(OcibuildError) as caught:
        act()
    assert caught.value.code == code


def test_a_folder_that_is_no_layout_or_a_bad_one_says_so(tmp_path: Path) -> None:
    layout_error(lambda: LayoutStore(tmp_path).index(), "layout-missing")
    layout_error(lambda: LayoutStore(tmp_path / "none").resolve(""), "layout-missing")
    (tmp_path / "index.json").write_text("{}")
    layout_error(lambda: LayoutStore(tmp_path).index(), "layout-invalid")
    (tmp_path / "index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    layout_error(lambda: LayoutStore(tmp_path).resolve(""), "not-found")
    layout_error(lambda: LayoutStore(tmp_path).resolve("sha256:" + "0" * 64), "not-found")
    layout_error(lambda: LayoutStore(tmp_path).resolve("sha256:0"), "digest-invalid")
    (tmp_path / "index.json").unlink()
    (tmp_path / "index.json").mkdir()
    layout_error(lambda: LayoutStore(tmp_path).index(), "store-unreadable")
    blob = image(b"a")[0]
    folder = tmp_path / "blobs" / "sha256" / blob.descriptor.digest.hex
    folder.mkdir(parents=True)
    layout_error(lambda: fetch(LayoutStore(tmp_path), blob.descriptor), "store-unreadable")


def test_an_index_of_more_than_a_manifests_size_is_read(tmp_path: Path) -> None:
    place = filled(LayoutStore(tmp_path / "a.oci"), ("1", image(b"a"), {})).path
    path = place / "index.json"
    path.write_bytes(path.read_bytes() + b" " * 5 * 1024 * 1024)
    assert LayoutStore(place).resolve("1")


def written(path: Path, members: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def test_an_archive_others_wrote_is_read(tmp_path: Path) -> None:
    place = filled(LayoutStore(tmp_path / "a.oci"), ("1", image(b"a"), {})).path
    for prefix in ("", "./"):
        members = {prefix + str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}
        reader = ArchiveReader(written(tmp_path / "a.tar", members))
        assert [d.digest for d in walk(reader, reader.resolve("1"))] == [
            b.descriptor.digest for b in (image(b"a")[1], image(b"a")[0], image(b"a")[2])
        ]


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"x" * 2000, bytes(1024), b"\x1f\x8b\x08" + bytes(600)],
    ids=["empty", "x", "text", "nothing", "gzip"],
)
def test_what_is_no_archive_says_so(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    with pytest.raises(StoreError) as caught:
        ArchiveReader(str(path))
    assert caught.value.code == "archive-invalid"


def test_an_archive_that_is_missing_cut_or_has_a_bad_index(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        ArchiveReader(str(tmp_path / "none.tar"))
    layout_error(lambda: ArchiveReader(written(tmp_path / "b.tar", {"index.json": b"{}"})), "archive-invalid")
    whole = tmp_path / "a.tar"
    filled(ArchiveWriter(str(whole)), ("1", image(b"a"), {}))
    data = whole.read_bytes()
    for length in range(0, len(data), 511):
        whole.write_bytes(data[:length])
        try:
            reader = ArchiveReader(str(whole))
            [fetch(reader, descriptor) for descriptor in walk(reader, reader.resolve("1"))]
        except OcibuildError:
            continue
        assert length > len(data) - 3000


def test_an_archive_is_the_same_file_each_time_and_goes_into_a_stream(tmp_path: Path) -> None:
    blobs = image(b"a")
    for name in ("a.tar", "b.tar"):
        filled(ArchiveWriter(str(tmp_path / name)), ("1", blobs, {}))
    out = io.BytesIO()
    writer = filled(ArchiveWriter("-", out=out), ("1", blobs, {}))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes() == out.getvalue()
    assert writer.place == "oci-archive:-"
    with ArchiveWriter("-", out=io.BytesIO()) as open_writer, Flow.open() as flow:
        for blob in blobs:
            open_writer.push(blob, flow)
        open_writer.tag(blobs[-1].descriptor, "1")
        open_writer.tag(image(b"a")[-1].descriptor, "2")
        assert open_writer.exists(blobs[0].descriptor)
    with pytest.raises(StoreError), ArchiveWriter(str(tmp_path / "none" / "a.tar")):
        pass


class Failing(MemoryStore):
    """Fails at one blob, and holds the others up until it has."""

    def __init__(self, at: Descriptor) -> None:
        super().__init__()
        self._at = at
        self._failed = threading.Event()

    def push(self, blob: Blob, flow: Flow) -> Pushed:
        if blob.descriptor == self._at:
            self._failed.set()
            raise StoreError("no room", code="disk-full")
        assert self._failed.wait(10)
        return super().push(blob, flow)


def test_the_first_failure_calls_the_rest_off_and_is_the_one_reported() -> None:
    blobs = image(b"a")
    source = filled(MemoryStore(), ("1", blobs, {}))
    for at in (blobs[0], blobs[1]):
        target = Failing(at.descriptor)
        with pytest.raises(StoreError) as caught, Flow.open(io=2) as flow:
            copy(source, source.resolve("1"), target, flow=flow)
        assert caught.value.code == "disk-full"
        assert not target.exists(blobs[2].descriptor)
        assert not list(target.roots())


def test_a_copy_that_was_called_off_says_so() -> None:
    source = filled(MemoryStore(), ("1", image(b"a"), {}))
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled), Flow.open(cancel=cancel) as flow:
        copy(source, source.resolve("1"), MemoryStore(), flow=flow)


class Mounting(MemoryStore):
    """Has everything somewhere else already, except configs."""

    def mount(self, descriptor: Descriptor, source: object) -> bool:
        return descriptor.media_type != mediatype.CONFIG


def test_what_can_be_mounted_is_not_moved() -> None:
    blobs = image(b"a")
    source = filled(MemoryStore(), ("1", blobs, {}))
    events: list[Event] = []
    with Flow.open(events.append) as flow:
        copied = copy(source, source.resolve("1"), Mounting(), flow=flow)
    assert [d.digest for d in copied.mounted] == [blobs[0].descriptor.digest]
    assert {d.digest for d in copied.written} == {blobs[1].descriptor.digest, blobs[2].descriptor.digest}
    assert [event.kind for event in events].count("plan") == 3
    assert [event.kind for event in events].count("mounted") == 1


def test_indexes_in_indexes_have_an_end() -> None:
    store = MemoryStore()
    with Flow.open() as flow:
        child = image(b"a")
        for blob in child:
            store.push(blob, flow)
        root = child[-1].descriptor
        for depth in range(10):
            blob = Blob.of(mediatype.INDEX, Index((root, root), {"depth": str(depth)}).to_bytes())
            store.push(blob, flow)
            root = blob.descriptor
            assert len(successors(store, root)) == 1
            if depth < 6:
                assert len(list(walk(store, root))) == 3 + depth + 1
    with pytest.raises(ContentError) as caught:
        list(walk(store, root))
    assert caught.value.code == "graph-too-deep"
