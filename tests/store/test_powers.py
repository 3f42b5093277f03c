"""What stores can do beside reading and writing: find referrers, take names and manifests away."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Event, Flow
from ocibuild.errors import ContentError, NotFoundError, StoreError
from ocibuild.spec import annotation, mediatype
from ocibuild.spec.descriptor import EMPTY, Descriptor
from ocibuild.spec.manifest import Manifest
from ocibuild.store import copy as copying
from ocibuild.store.archive import ArchiveReader, ArchiveWriter
from ocibuild.store.base import Deletes, Referrers, Source, Untags
from ocibuild.store.copy import copy
from ocibuild.store.layout import LayoutStore
from ocibuild.store.memory import MemoryStore
from ocibuild.store.overlay import OverlayStore
from ocibuild.testing.contract import image, index

NOTHING = Blob.of(EMPTY.media_type, b"{}")


def on(subject: Descriptor, artifact_type: str | None = "text/x", note: str = "1") -> Blob:
    manifest = Manifest(NOTHING.descriptor, (), {"note": note}, artifact_type, subject.bare)
    return Blob.of(mediatype.MANIFEST, manifest.to_bytes())


ONE, TWO = image(b"a"), image(b"b")
ROOT = ONE[-1].descriptor
ATTACHED = on(ROOT)
NESTED = on(ATTACHED.descriptor, "text/y")


def files(folder: Path) -> set[str]:
    return set(os.listdir(folder / "blobs" / "sha256"))


def fill(store: LayoutStore | MemoryStore | ArchiveWriter, *roots: tuple[str | None, list[Blob]]) -> None:
    with Flow.open() as flow, store:
        for name, blobs in roots:
            for blob in blobs:
                store.push(blob, flow)
            store.tag(blobs[-1].descriptor, name)


WITH_REFERRERS = (("1", ONE), (None, [NOTHING, ATTACHED]), (None, [NESTED]))


@pytest.fixture(params=["layout", "memory", "archive", "overlay"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """A store with an image, something attached to it, and something attached to that."""
    if request.param == "archive":
        fill(ArchiveWriter(str(tmp_path / "x.tar")), *WITH_REFERRERS)
        return ArchiveReader(str(tmp_path / "x.tar"))
    store = MemoryStore() if request.param == "memory" else LayoutStore(tmp_path / "x.oci")
    fill(store, *WITH_REFERRERS)
    return OverlayStore(MemoryStore(), store) if request.param == "overlay" else store


def test_referrers_are_found_with_type_and_annotations(held: Source) -> None:
    assert isinstance(held, Referrers)
    (found,) = held.referrers(ROOT)
    assert (found.key, found.artifact_type, found.annotations) == (ATTACHED.descriptor.key, "text/x", {"note": "1"})
    assert held.referrers(ROOT, "text/x") == (found,)
    assert held.referrers(ROOT, "text/y") == ()
    assert [entry.digest for entry in held.referrers(ATTACHED.descriptor)] == [NESTED.descriptor.digest]
    assert held.referrers(NESTED.descriptor) == ()


def test_what_is_attached_does_not_make_an_image_ambiguous(held: Source) -> None:
    if not isinstance(held, OverlayStore):
        assert held.resolve("").digest == ROOT.digest


def test_a_lone_referrer_is_an_image_like_any_other(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "x.oci")
    fill(store, (None, [NOTHING, ATTACHED]))
    assert store.resolve("").digest == ATTACHED.descriptor.digest


def test_what_is_attached_to_one_platform_is_no_image_of_its_own(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "x.oci")
    both = index(ONE, TWO)
    fill(store, ("1", both), (None, [NOTHING, ATTACHED]))
    assert store.resolve("").digest == both[-1].descriptor.digest


def test_a_damaged_image_does_not_hide_the_others(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "x.oci")
    fill(store, ("1", ONE), (None, TWO))
    (tmp_path / "x.oci/blobs/sha256" / TWO[-1].descriptor.digest.hex).write_bytes(b"x" * TWO[-1].descriptor.size)
    with pytest.raises(NotFoundError) as caught:
        store.resolve("")
    assert caught.value.code == "ambiguous"
    assert store.resolve("1").digest == ROOT.digest


# Copying.


@pytest.mark.parametrize("make", [lambda folder: MemoryStore(), lambda folder: LayoutStore(folder / "to.oci")])
def test_copying_takes_referrers_of_referrers_along_when_asked(
    make: Callable[[Path], MemoryStore | LayoutStore], held: Source, tmp_path: Path
) -> None:
    for asked, expected in ((False, [("1", ROOT.digest)]), (True, None)):
        target = make(tmp_path / str(asked))
        (tmp_path / str(asked)).mkdir(exist_ok=True)
        with Flow.open() as flow, target:
            copied = copy(held, ROOT, target, names=["1"], referrers=asked, flow=flow)
        roots = [(name, root.digest) for name, root in target.roots()]
        if expected is not None:
            assert (roots, copied.referrers) == (expected, [])
            continue
        assert set(roots) == {("1", ROOT.digest), (None, ATTACHED.descriptor.digest), (None, NESTED.descriptor.digest)}
        assert [entry.digest for entry in copied.referrers] == [ATTACHED.descriptor.digest, NESTED.descriptor.digest]
        assert len(copied.written) == len(ONE) + 3
        assert target.resolve("").digest == ROOT.digest


def test_manifests_that_refer_to_each_other_end(tmp_path: Path) -> None:
    """Nobody can make a circle of digests; a list that says so can be made by anybody."""

    class Circle(MemoryStore):
        def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
            return [ATTACHED.descriptor, ROOT, NESTED.descriptor]

    source, target = Circle(), MemoryStore()
    fill(source, *WITH_REFERRERS)
    with Flow.open() as flow, target:
        copied = copy(source, ROOT, target, referrers=True, flow=flow)
    assert len(copied.referrers) == 2


def test_a_flood_of_referrers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "MAX_REFERRERS", 20)
    source, target = MemoryStore(), MemoryStore()
    many = [(None, [on(ROOT, note=str(n))]) for n in range(30)]
    fill(source, ("1", ONE), (None, [NOTHING, ATTACHED]), *many)
    with Flow.open() as flow, pytest.raises(ContentError) as caught, target:
        copy(source, ROOT, target, referrers=True, flow=flow)
    assert caught.value.code == "too-many-referrers"
    assert target.blobs == {}


def test_a_referrer_that_is_listed_and_gone_is_passed_over_and_told() -> None:
    class Stale(MemoryStore):
        def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
            return [on(ROOT, note="gone").descriptor, *super().referrers(subject, artifact_type)]

    source, target = Stale(), MemoryStore()
    fill(source, *WITH_REFERRERS)
    told: list[Event] = []
    with Flow.open(told.append) as flow, target:
        copied = copy(source, ROOT, target, referrers=True, flow=flow)
    assert len(copied.referrers) == 2
    assert any(event.kind == "note" and "gone" in event.text for event in told)


def test_a_docker_archive_is_of_the_image_and_not_of_what_is_attached(tmp_path: Path) -> None:
    import tarfile

    config = Blob.of(
        mediatype.CONFIG, b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    )
    bare = Blob.of(mediatype.MANIFEST, Manifest(config.descriptor, ()).to_bytes())
    named = bare.descriptor.with_annotations({annotation.CONTAINERD_NAME: "docker.io/library/hello:1"})
    with Flow.open() as flow, ArchiveWriter(str(tmp_path / "x.tar")) as store:
        for blob in (config, bare, NOTHING, on(bare.descriptor)):
            store.push(blob, flow)
        store.tag(on(bare.descriptor).descriptor, None)
        store.tag(named, "1")
    with tarfile.open(tmp_path / "x.tar") as archive:
        stream = archive.extractfile("manifest.json")
        assert stream is not None
        (said,) = json.load(stream)
    assert said["RepoTags"] == ["docker.io/library/hello:1"]
    assert said["Config"] == f"blobs/sha256/{config.descriptor.digest.hex}"


# Taking away.


@pytest.fixture(params=["layout", "memory"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> LayoutStore | MemoryStore:
    """Two images: one with two names, one with one."""
    store = MemoryStore() if request.param == "memory" else LayoutStore(tmp_path / "x.oci")
    fill(store, ("1", ONE), ("latest", ONE), ("2", TWO))
    return store


def test_a_name_goes_and_what_it_stood_for_stays(two: LayoutStore | MemoryStore) -> None:
    assert isinstance(two, Untags)
    with two:
        two.untag("1")
    assert [name for name, _ in two.roots()] == ["latest", "2"]
    with two:
        two.untag("latest")
    # It has no name left, and is still there.
    assert [(name, root.digest) for name, root in two.roots() if name is None] == [(None, ROOT.digest)]
    assert two.resolve(ROOT.digest).key == ROOT.key
    with pytest.raises(NotFoundError), two:
        two.untag("latest")


def test_a_manifest_goes_with_its_names(two: LayoutStore | MemoryStore) -> None:
    assert isinstance(two, Deletes)
    with two:
        two.delete(ROOT)
    assert [name for name, _ in two.roots()] == ["2"]
    with pytest.raises(NotFoundError), two:
        two.delete(ROOT)


def test_a_failure_takes_nothing_away(two: LayoutStore | MemoryStore) -> None:
    class Broken(RuntimeError):
        pass

    def break_off() -> None:
        with two:
            two.delete(ROOT)
            two.untag("2")
            raise Broken

    with pytest.raises(Broken):
        break_off()
    assert [name for name, _ in two.roots()] == ["1", "latest", "2"]
    assert all(two.exists(blob.descriptor) for blob in ONE)


def test_a_layout_gives_back_the_space_and_keeps_what_others_need(tmp_path: Path) -> None:
    store, place = LayoutStore(tmp_path / "x.oci"), tmp_path / "x.oci"
    shared = ONE[0]
    third = Manifest(NOTHING.descriptor, (shared.descriptor,))
    fill(store, ("1", ONE), ("3", [NOTHING, shared, Blob.of(third.media_type, third.to_bytes())]))
    (place / "blobs/sha256" / ("f" * 64)).write_bytes(b"another program's")
    before = files(place)
    with store:
        store.delete(ROOT)
    gone = {blob.descriptor.digest.hex for blob in ONE[1:]}
    assert before - files(place) == gone


def test_a_layout_with_another_writer_in_it_loses_no_blob(tmp_path: Path) -> None:
    """That writer may have found them there, and be about to name them."""
    store, place = LayoutStore(tmp_path / "x.oci"), tmp_path / "x.oci"
    fill(store, ("1", ONE))
    before = files(place)
    with LayoutStore(place) as other, Flow.open() as flow:
        assert other.push(ONE[0], flow).value == "existed"
        with store:
            store.delete(ROOT)
        assert files(place) == before
        for blob in ONE[1:]:
            other.push(blob, flow)
        other.tag(ROOT, "again")
    assert LayoutStore(place).resolve("again").digest == ROOT.digest


def test_an_image_inside_an_index_is_not_torn_out_of_it(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "x.oci")
    fill(store, ("1", index(ONE, TWO)), (None, ONE))
    with pytest.raises(StoreError) as caught, store:
        store.delete(ROOT)
    assert caught.value.code == "manifest-in-use"
    assert store.resolve(ROOT.digest).key == ROOT.key


def test_the_rest_of_a_layouts_index_stays_as_it_was(tmp_path: Path) -> None:
    store, place = LayoutStore(tmp_path / "x.oci"), tmp_path / "x.oci"
    fill(store, ("1", ONE), ("2", TWO))
    document = json.loads((place / "index.json").read_bytes())
    document["annotations"] = {"whose": "another's"}
    (place / "index.json").write_text(json.dumps(document))
    with store:
        store.delete(ROOT)
    after = json.loads((place / "index.json").read_bytes())
    assert after["annotations"] == {"whose": "another's"}
    assert after["manifests"] == document["manifests"][1:]
