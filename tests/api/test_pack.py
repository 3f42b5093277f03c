"""The whole way of one file, through the porcelain."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from ocibuild.ambient import Ambient
from ocibuild.api.pack import pack
from ocibuild.api.session import Session
from ocibuild.api.transfer import copy
from ocibuild.errors import Cancelled, InputError, StoreError, UsageError
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.store.base import fetch
from ocibuild.store.graph import node
from ocibuild.store.layout import LayoutStore

MODULE = b"\0asm\1\0\0\0"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (tmp_path / "hello.wasm").write_bytes(MODULE)
    return tmp_path


def test_a_module_becomes_a_layout_beside_it(here: Path) -> None:
    packed = pack("hello.wasm")
    assert packed.references == (f"oci:hello.oci@{packed.digest}",)
    store = LayoutStore("hello.oci")
    manifest = node(store, store.resolve(""))
    assert isinstance(manifest, Manifest)
    config = json.loads(fetch(store, manifest.config))
    assert (config["os"], config["architecture"]) == ("wasi", "wasm")
    assert config["config"]["Entrypoint"] == ["/hello.wasm"]
    for blob in Path("hello.oci/blobs/sha256").iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def test_packing_twice_changes_nothing(here: Path) -> None:
    pack("hello.wasm")
    before = {path: path.read_bytes() for path in Path("hello.oci").rglob("*") if path.is_file()}
    pack("hello.wasm")
    assert {path: path.read_bytes() for path in Path("hello.oci").rglob("*") if path.is_file()} == before


def test_the_archive_is_the_layout_in_a_tar(here: Path) -> None:
    packed = pack("hello.wasm", output="hello.tar", tags=["localhost:5000/hello:1"])
    with tarfile.open("hello.tar") as archive:
        names = archive.getnames()
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        docker = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert index["manifests"][0]["digest"] == packed.digest
    assert index["manifests"][0]["annotations"] == {
        "io.containerd.image.name": "localhost:5000/hello:1",
        "org.opencontainers.image.ref.name": "1",
    }
    assert docker[0]["RepoTags"] == ["localhost:5000/hello:1"]
    assert docker[0]["Config"] in names
    assert "oci-layout" in names


def test_the_same_image_is_the_same_archive_whatever_the_way(here: Path) -> None:
    pack("hello.wasm", output="direct.tar")
    pack("hello.wasm")
    copy("hello.oci", "copied.tar")
    stream = io.BytesIO()
    pack("hello.wasm", output="-", out=stream)
    assert Path("direct.tar").read_bytes() == Path("copied.tar").read_bytes() == stream.getvalue()


def test_two_tags_in_two_registries_are_two_names_of_one_image(here: Path) -> None:
    pack("hello.wasm", tags=["localhost:5000/hello:1", "ghcr.io/me/hello:1"], output="two.oci")
    roots = list(LayoutStore("two.oci").roots())
    assert [name for name, _ in roots] == ["1", "1"]
    assert len({descriptor.digest for _, descriptor in roots}) == 1


def test_a_tag_packed_anew_replaces_the_old_one(here: Path) -> None:
    pack("hello.wasm", tags=["localhost:5000/hello:1"])
    second = pack("hello.wasm", tags=["localhost:5000/hello:1"], env={"NEW": "1"})
    assert [str(d.digest) for _, d in LayoutStore("hello.oci").roots()] == [second.digest]


def test_a_docker_archive_of_an_index_is_refused_and_nothing_stays(here: Path) -> None:
    with pytest.raises(StoreError) as caught:
        pack("hello.wasm", index=True, output="docker-archive:x.tar")
    assert caught.value.code == "archive-shape"
    assert not Path("x.tar").exists()
    assert sorted(path.name for path in here.iterdir()) == ["hello.wasm"]


def test_a_dry_run_writes_nothing_and_tells_the_digest(here: Path) -> None:
    dry = pack("hello.wasm", dry_run=True)
    assert sorted(path.name for path in here.iterdir()) == ["hello.wasm"]
    assert dry.digest == pack("hello.wasm").digest


def test_push_without_a_tag_says_what_is_missing(here: Path) -> None:
    with pytest.raises(UsageError, match="--push needs to know where"):
        pack("hello.wasm", push=True)


def test_an_unknown_keyword_is_named(here: Path) -> None:
    with pytest.raises(UsageError) as caught:
        pack("hello.wasm", entry_point="x")
    assert caught.value.code == "option-unknown"
    assert "entrypoint" in (caught.value.hint or "")


def test_a_file_that_changes_while_it_is_packed_is_an_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocibuild.api import delivery as module

    assemble = module.assemble

    def grown(*arguments: object) -> object:
        with Path("hello.wasm").open("ab") as stream:
            stream.write(b"\0")
        return assemble(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "assemble", grown)
    with pytest.raises(InputError) as caught:
        pack("hello.wasm")
    assert caught.value.code == "input-changed"
    assert not Path("hello.oci").exists()


def test_source_date_epoch_is_every_time_in_the_image(here: Path) -> None:
    import datetime

    surroundings = Ambient({"SOURCE_DATE_EPOCH": "1700000000"}, here, datetime.datetime.now(datetime.UTC))
    pack("hello.wasm", session=Session(surroundings=surroundings), compression="none")
    store = LayoutStore("hello.oci")
    manifest = node(store, store.resolve(""))
    assert isinstance(manifest, Manifest)
    config = json.loads(fetch(store, manifest.config))
    assert config["created"] == "2023-11-14T22:13:20Z"
    assert {line["created"] for line in config["history"]} == {"2023-11-14T22:13:20Z"}
    with tarfile.open(fileobj=io.BytesIO(fetch(store, manifest.layers[0]))) as layer:
        assert {member.mtime for member in layer} == {1700000000}


def test_index_lists_wasm_under_the_hosts_platforms_with_one_layer(here: Path) -> None:
    packed = pack("hello.wasm", also=["linux/amd64,linux/arm64"])
    store = LayoutStore("hello.oci")
    index = node(store, packed.descriptor)
    assert isinstance(index, Index)
    assert [str(entry.platform) for entry in index.manifests] == ["linux/amd64", "linux/arm64", "wasi/wasm"]
    layers = {node(store, entry).layers[0].digest for entry in index.manifests}  # type: ignore[union-attr]
    assert len(layers) == 1


def test_a_failed_verb_does_not_call_off_the_next_one_of_its_session(here: Path) -> None:
    session = Session()
    with pytest.raises(StoreError):
        pack("hello.wasm", index=True, output="docker-archive:x.tar", session=session)
    assert pack("hello.wasm", session=session).references


def test_a_session_that_is_called_off_calls_off_its_verbs(here: Path) -> None:
    session = Session()
    session.cancel.set()
    with pytest.raises(Cancelled):
        pack("hello.wasm", session=session)
    assert not Path("hello.oci").exists()


@pytest.mark.parametrize(
    "option", [{"entrypoint": "x"}, {"env": {"A": "1"}}, {"compression": "zstd"}, {"mode": "0700"}]
)
def test_what_a_shape_has_no_place_for_is_refused(option: dict[str, object], here: Path) -> None:
    with pytest.raises(UsageError, match=f"has no place for --{next(iter(option))}") as caught:
        pack("hello.wasm", format="artifact", **option)
    assert caught.value.code == "shape-conflict"


def test_a_platform_that_fits_no_file_is_refused(here: Path) -> None:
    (here / "other.wasm").write_bytes(MODULE)
    with pytest.raises(UsageError, match="linux/riscv64") as caught:
        pack("hello.wasm", "other.wasm=wasip1/wasm", platform=["linux/riscv64"])
    assert caught.value.code == "platform-unused"


def test_packing_a_changed_program_again_replaces_the_image(here: Path) -> None:
    pack("hello.wasm")
    (here / "hello.wasm").write_bytes(MODULE + b"\0\2\1x")
    second = pack("hello.wasm")
    assert [(name, str(d.digest)) for name, d in LayoutStore("hello.oci").roots()] == [("latest", second.digest)]
    assert copy("hello.oci", "copied.tar").descriptor.digest == second.descriptor.digest
