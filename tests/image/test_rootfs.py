"""Layers read without unpacking: whiteouts, links, hostile tars. Layers are written by the standard library's tarfile."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.errors import ContentError
from ocibuild.image import rootfs as reading
from ocibuild.image.rootfs import RootFs
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.store.memory import MemoryStore


def tar(*entries: tuple[str, bytes | str | None], link: bytes = tarfile.SYMTYPE) -> bytes:
    """Entries of (name, content): bytes make a file, text a link, None a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                info.type, info.linkname = link, content
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def stored(*layers: bytes, media_type: str = mediatype.LAYER) -> tuple[MemoryStore, list[Descriptor]]:
    store = MemoryStore()
    blobs = [Blob.of(media_type, data) for data in layers]
    with Flow.open() as flow:
        for blob in blobs:
            store.push(blob, flow)
    return store, [blob.descriptor for blob in blobs]


def union(*layers: bytes) -> RootFs:
    return RootFs.read(*stored(*layers))


def content(rootfs: RootFs, path: str) -> bytes:
    member = rootfs.resolve(path)
    assert member is not None
    with rootfs.open(member) as stream:
        return stream.read()


def test_upper_layers_replace_and_whiteouts_remove() -> None:
    lower = tar(("a", b"old"), ("b", b"gone"), ("d", None), ("d/x", b"1"), ("d/y", b"2"))
    rootfs = union(lower, tar(("a", b"new"), (".wh.b", b""), ("d", None), ("d/.wh.x", b"")))
    assert sorted(rootfs.files) == ["a", "d", "d/y"]
    assert content(rootfs, "/a") == b"new"


def test_an_opaque_folder_hides_what_is_below_and_keeps_its_own() -> None:
    rootfs = union(tar(("d", None), ("d/x", b"1")), tar(("d", None), ("d/new", b"2"), ("d/.wh..wh..opq", b"")))
    assert sorted(rootfs.files) == ["d", "d/new"]


def test_a_whiteout_does_not_touch_its_own_layer() -> None:
    assert sorted(union(tar(("x", b"old")), tar(("x", b"new"), (".wh.x", b""))).files) == ["x"]


def test_a_file_in_the_place_of_a_folder_takes_its_children_away() -> None:
    assert sorted(union(tar(("d", None), ("d/x", b"1")), tar(("d", b"file"))).files) == ["d"]


@pytest.mark.fault(72)
def test_links_are_followed_inside_the_image() -> None:
    layer = tar(("usr", None), ("usr/bin", None), ("usr/bin/app", b"app"), ("bin", "usr/bin"), ("up", "../../usr"))
    rootfs = union(layer)
    assert content(rootfs, "/bin/app") == b"app"
    assert content(rootfs, "/up/bin/../bin/app") == b"app"
    assert rootfs.resolve("/bin/none") is None


def test_a_loop_of_links_ends() -> None:
    assert union(tar(("a", "b"), ("b", "a"))).resolve("/a") is None


def test_hard_links() -> None:
    layer = tar(("dir", None), ("dir/one", b"same"))
    assert content(union(layer, tar(("two", "dir/one"), link=tarfile.LNKTYPE)), "/two") == b"same"


def test_names_of_other_makers_are_brought_to_one_form() -> None:
    assert sorted(union(tar(("./a", b""), ("/ko-app", None), ("/ko-app/x", b""))).files) == ["a", "ko-app", "ko-app/x"]


@pytest.mark.fault(72)
def test_names_that_leave_the_root_are_named_and_not_read() -> None:
    rootfs = union(tar(("../../etc/passwd", b"root"), ("ok", b"")))
    assert sorted(rootfs.files) == ["ok"]
    assert [(problem.code, problem.path) for problem in rootfs.layers[0].problems] == [("unsafe", "../../etc/passwd")]


def test_duplicates_and_orphans_are_named() -> None:
    problems = union(tar(("a", b"1"), ("a", b"2"), ("a/b", b"3"))).layers[0].problems
    assert [(problem.code, problem.path) for problem in problems] == [("duplicate", "a"), ("orphan", "a/b")]


@pytest.mark.parametrize("members", [1, 3])
def test_the_diff_id_is_of_the_whole_tar_padding_too(members: int) -> None:
    plain = tar(("a", b"x" * 5000))
    cut = len(plain) // members + 1
    packed = b"".join(gzip.compress(plain[at : at + cut]) for at in range(0, len(plain), cut))
    store, layers = stored(packed, media_type=mediatype.LAYER_GZIP)
    facts = RootFs.read(store, layers).layers[0]
    assert facts.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    assert facts.size == len(plain)


@pytest.mark.parametrize("media_type", [mediatype.LAYER, mediatype.LAYER_GZIP, mediatype.LAYER_ZSTD])
def test_what_is_no_tar_is_our_error(media_type: str) -> None:
    store, layers = stored(b"this is no layer" * 100, media_type=media_type)
    with pytest.raises(ContentError) as caught:
        RootFs.read(store, layers)
    assert caught.value.code == "layer-invalid"


def test_a_gzip_cut_short_is_our_error() -> None:
    store, layers = stored(gzip.compress(tar(("a", b"x" * 5000)))[:-9], media_type=mediatype.LAYER_GZIP)
    with pytest.raises(ContentError) as caught:
        RootFs.read(store, layers)
    assert caught.value.code == "layer-invalid"


@pytest.mark.fault(71)
def test_a_bomb_is_left_before_it_goes_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_SMALL", 1024 * 1024)
    store, layers = stored(gzip.compress(tar(("zeros", bytes(64 * 1024 * 1024)))), media_type=mediatype.LAYER_GZIP)
    with pytest.raises(ContentError) as caught:
        RootFs.read(store, layers)
    assert caught.value.code == "layer-too-large"


@pytest.mark.fault(71)
def test_a_header_of_a_gigabyte_is_not_read_into_memory() -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 2**30
    store, layers = stored(info.tobuf(tarfile.USTAR_FORMAT) + bytes(4096))
    with pytest.raises(ContentError) as caught:
        RootFs.read(store, layers)
    assert caught.value.code == "layer-invalid"
