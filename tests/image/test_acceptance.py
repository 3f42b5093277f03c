"""The acceptance checks of the formats, by number: given a program and options, what the written bytes must show.

The facts were read in the sources of the consumers named beside them; selectors (check 23) are their rules, simulated.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ocibuild.api.joining import join
from ocibuild.api.pack import pack
from ocibuild.api.transfer import push
from ocibuild.content.flow import Flow
from ocibuild.errors import InputError, OcibuildError, UsageError
from ocibuild.image.shapes import SHAPES
from ocibuild.spec.descriptor import Descriptor
from ocibuild.store.base import Pushed
from ocibuild.store.copy import copy
from ocibuild.store.layout import LayoutStore
from ocibuild.store.memory import MemoryStore
from ocibuild.testing import programs
from tests.registry.double import Registry

EMPTY = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
RFC6838 = re.compile(r"^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass
class Made:
    """A layout as plain files and JSON, read without the code under test."""

    place: Path
    entry: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.entry = json.loads((self.place / "index.json").read_bytes())["manifests"][-1]

    def blob(self, digest: str) -> bytes:
        data = (self.place / "blobs" / digest.replace(":", "/")).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest.partition(":")[2]
        return data

    def document(self, descriptor: dict[str, Any] | None = None) -> Any:
        return json.loads(self.blob((descriptor or self.entry)["digest"]))

    def config(self, manifest: dict[str, Any] | None = None) -> Any:
        return self.document((manifest or self.document())["config"])

    def tar(self, manifest: dict[str, Any] | None = None) -> bytes:
        return gzip.decompress(self.blob((manifest or self.document())["layers"][-1]["digest"]))

    def descriptors(self, descriptor: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        descriptor = descriptor or self.entry
        found = [descriptor]
        if descriptor["mediaType"] in (MANIFEST, INDEX):
            document = self.document(descriptor)
            for child in [*document.get("manifests", []), *document.get("layers", [])]:
                found += self.descriptors(child)
            if "config" in document:
                found.append(document["config"])
        return found


Maker = Callable[..., Made]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """Packs files given as name=bytes into a new layout."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    count = 0

    def made(files: dict[str, bytes] | None = None, **said: Any) -> Made:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        folder.mkdir()
        paths = []
        for name, data in (files or {"hello.wasm": programs.MODULE}).items():
            (folder / name).write_bytes(data)
            paths.append(folder / name)
        pack(*paths, output=f"oci:{folder / 'out.oci'}", **said)
        return Made(folder / "out.oci")

    return made


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()


MIXED = {
    "app.wasm": programs.command(),
    "app-linux-arm64": programs.elf("arm64"),
    "app-linux-amd64": programs.elf("amd64"),
}


def test_check_01_the_uncompressed_layer_is_the_diff_id(make: Maker) -> None:
    made = make()
    assert made.config()["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(made.tar()).hexdigest()]


def test_check_02_paths_are_relative_once_parents_first_and_never_whiteouts(make: Maker, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a.toml").write_text("a")
    names = [member.name for member in members(make(name="opt/app/x.wasm", add=[f"{tmp_path}/conf:/etc/conf"]).tar())]
    assert len(names) == len(set(names))
    for position, name in enumerate(names):
        assert not name.startswith(("/", "./"))
        parent = name.rpartition("/")[0]
        assert not parent or parent in names[:position]
    (tmp_path / "conf" / ".wh.x").write_text("")
    with pytest.raises(UsageError) as caught:
        make(add=[f"{tmp_path}/conf:/etc/conf"])
    assert caught.value.code == "path-invalid"
    with pytest.raises(UsageError):
        make(name=".wh.hello")


def test_check_03_one_epoch_gives_one_digest_and_a_bare_gzip_header(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    one, two = make(), make()
    assert one.entry["digest"] == two.entry["digest"]
    head = one.blob(one.document()["layers"][0]["digest"])[:10]
    assert head[3:8] == bytes(5)
    assert head[9] == 255
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000001")
    assert make().entry["digest"] != one.entry["digest"]


def test_check_04_the_program_is_0755_root_at_the_epoch(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    member = members(make().tar())[-1]
    assert (member.mode, member.uid, member.gid, member.mtime) == (0o755, 0, 0, 1_700_000_000)
    assert (member.uname, member.gname) == ("", "")


@pytest.mark.parametrize(
    "files, magic", [({"hello.wasm": programs.MODULE}, b"\0asm"), ({"hello": programs.elf()}, b"\x7fELF")]
)
def test_check_05_the_entrypoint_is_the_program(make: Maker, files: dict[str, bytes], magic: bytes) -> None:
    made = make(files)
    (entrypoint,) = made.config()["config"]["Entrypoint"]
    assert entrypoint.startswith("/")
    with tarfile.open(fileobj=io.BytesIO(made.tar())) as archive:
        stream = archive.extractfile(entrypoint[1:])
        assert stream is not None
        assert stream.read() == next(iter(files.values()))
    assert next(iter(files.values())).startswith(magic)


@pytest.mark.parametrize("program", [programs.MODULE, programs.component()])
def test_check_06_wasm_is_wasi_wasm_without_variant(make: Maker, program: bytes) -> None:
    config = make({"a.wasm": program}).config()
    assert (config["os"], config["architecture"]) == ("wasi", "wasm")
    assert "variant" not in config


@pytest.mark.parametrize("asked", ["wasi/wasm", "wasip1/wasm", "wasip2/wasm"])
def test_check_07_what_was_asked_is_written_literally(make: Maker, asked: str) -> None:
    for shape in ("image", "wasm-layer"):
        config = make(platform=[asked], format=shape).config()
        assert f"{config['os']}/{config['architecture']}" == asked


def test_check_07_wasm_alone_is_never_linux_wasm(make: Maker) -> None:
    with pytest.raises(UsageError) as caught:
        make(platform=["wasm"])
    assert caught.value.code == "platform-invalid"


def test_check_08_case_is_lowered_and_wasm32_refused(make: Maker) -> None:
    assert make(platform=["WASI/Wasm"]).config()["os"] == "wasi"
    with pytest.raises(UsageError):
        make(platform=["wasi/wasm32"])


@pytest.mark.parametrize("shape", ["image", "wasm-layer", "compat"])
def test_check_09_configs_have_their_required_members(make: Maker, shape: str) -> None:
    config = make(format=shape).config()
    assert config["architecture"]
    assert config["os"]
    assert config["rootfs"]["type"] == "layers"
    assert isinstance(config["rootfs"]["diff_ids"], list)


@pytest.mark.parametrize("shape", ["image", "wasm-layer", "compat"])
def test_check_10_history_counts_the_layers(make: Maker, shape: str) -> None:
    made = make(format=shape, env=["A=1"], cmd="x", label=["l=1"])
    filled = [line for line in made.config().get("history", []) if not line.get("empty_layer")]
    assert len(filled) == (0 if shape == "wasm-layer" else len(made.document()["layers"]))


@pytest.mark.parametrize("shape", SHAPES)
def test_check_11_the_manifest_names_its_own_type(make: Maker, shape: str) -> None:
    made = make(format=shape)
    assert made.document()["schemaVersion"] == 2
    assert made.document()["mediaType"] == made.entry["mediaType"] == MANIFEST


@pytest.mark.parametrize("shape", [*SHAPES, "mixed"])
def test_check_12_descriptors_describe(make: Maker, shape: str) -> None:
    made = make(MIXED) if shape == "mixed" else make(format=shape)
    for descriptor in made.descriptors():
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", descriptor["digest"])
        assert len(made.blob(descriptor["digest"])) == descriptor["size"]
        assert RFC6838.match(descriptor["mediaType"])


@pytest.mark.parametrize("shape", SHAPES)
def test_check_13_annotations_are_strings_and_absent_when_there_are_none(make: Maker, shape: str) -> None:
    made = make(format=shape)
    for document in (made.document(), *made.descriptors()):
        annotations = document.get("annotations", {"x": "y"})
        assert annotations
        assert all(isinstance(value, str) for value in annotations.values())
        assert "run.oci.handler" not in annotations
    if shape in ("image", "wasm-layer", "artifact"):
        assert "annotations" not in made.document()
    asked = make(format=shape, annotation=["run.oci.handler=wasm"])
    assert asked.document()["annotations"]["run.oci.handler"] == "wasm"


def test_check_14_runwasis_raw_layer(make: Maker, tmp_path: Path) -> None:
    one, two = (make({"a.wasm": programs.command(note)}, format="wasm-layer") for note in (b"1", b"2"))
    (layer,) = one.document()["layers"]
    assert layer["mediaType"] == "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"
    assert one.blob(layer["digest"]) == programs.command(b"1")
    assert one.config()["rootfs"] == {"type": "layers", "diff_ids": []}
    assert one.document()["config"]["digest"] != two.document()["config"]["digest"]
    # runwasi's oci-tar-builder: the hash of the joined layer digests
    unique = hashlib.sha256(layer["digest"].encode()).hexdigest()
    assert one.config()["config"]["Labels"] == {"containerd.runwasi.layers": unique}
    assert one.entry["mediaType"] == MANIFEST
    path = tmp_path / "a.wasm"
    path.write_bytes(programs.MODULE)
    pack(path, output=str(tmp_path / "a.tar"), format="wasm-layer")
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert "manifest.json" not in archive.getnames()
    with pytest.raises(OcibuildError) as caught:
        pack(path, output=f"docker-archive:{tmp_path}/b.tar", format="wasm-layer")
    assert caught.value.code == "archive-shape"


def test_check_15_the_cncf_artifact_of_a_module(make: Maker) -> None:
    made = make(format="artifact")
    manifest, config = made.document(), made.config()
    assert manifest["config"]["mediaType"] == "application/vnd.wasm.config.v0+json"
    assert list(config) == ["created", "author", "architecture", "os", "layerDigests", "component"]
    assert (config["os"], config["component"], config["author"]) == ("wasip1", None, None)
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/wasm"
    assert config["layerDigests"] == ["sha256:" + hashlib.sha256(programs.MODULE).hexdigest()] == [layer["digest"]]
    assert "artifactType" not in manifest


def test_check_16_the_cncf_artifact_of_a_component_lists_its_world(make: Maker) -> None:
    imports = ("wasi:cli/environment@0.2.0", "wasi:io/streams@0.2.3")
    exports = ("wasi:http/incoming-handler@0.2.0",)
    config = make({"c.wasm": programs.component(imports, exports)}, format="artifact").config()
    assert config["os"] == "wasip2"
    assert config["component"] == {"exports": list(exports), "imports": list(imports), "target": None}


def test_check_17_created_is_rfc3339_and_the_body_has_its_type(make: Maker) -> None:
    made = make(format="artifact", created="2026-01-31T12:00:00+02:00")
    assert made.config()["created"] == "2026-01-31T10:00:00Z"
    assert datetime.fromisoformat(made.config()["created"]).tzinfo is not None
    assert made.document()["mediaType"] == MANIFEST


def test_check_18_solos_two_layers(make: Maker) -> None:
    made = make({"f.wasm": programs.proxy_wasm()}, format="solo")
    manifest = made.document()
    assert len(manifest["layers"]) == 2
    assert manifest["layers"][0]["digest"] == manifest["config"]["digest"]
    assert manifest["layers"][1]["mediaType"] == "application/vnd.module.wasm.content.layer.v1+wasm"
    assert made.blob(manifest["layers"][1]["digest"]).startswith(b"\0asm")
    assert manifest["annotations"]["module.wasm.runtime/type"] == "envoy_proxy"
    assert manifest["annotations"]["module.wasm.runtime/abi_version"] == "0.2.1"
    assert made.config() == {"type": "envoy_proxy", "abiVersions": ["0.2.1"], "config": {"root_ids": []}}


def test_check_19_compat_has_plugin_wasm_in_a_gzip_layer(make: Maker) -> None:
    made = make({"filter.wasm": programs.proxy_wasm()}, format="compat")
    manifest = made.document()
    assert manifest["layers"][-1]["mediaType"] == GZIP
    with tarfile.open(fileobj=io.BytesIO(made.tar())) as archive:
        stream = archive.extractfile("plugin.wasm")
        assert stream is not None
        assert stream.read() == programs.proxy_wasm()
    assert manifest["annotations"]["module.wasm.image/variant"] == "compat"
    assert made.entry["mediaType"] == MANIFEST
    for compression in ("zstd", "none"):
        with pytest.raises(UsageError) as caught:
            make(format="compat", compression=compression)
        assert caught.value.code == "shape-conflict"


def test_check_20_wasm_to_oci_has_an_empty_config(make: Maker) -> None:
    made = make(format="wasm-to-oci")
    manifest = made.document()
    assert manifest["config"] == {"mediaType": "application/vnd.wasm.config.v1+json", "digest": EMPTY, "size": 2}
    assert made.blob(EMPTY) == b"{}"
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.wasm.content.layer.v1+wasm"
    assert layer["annotations"] == {"org.opencontainers.image.title": "hello.wasm"}
    assert made.blob(layer["digest"]) == programs.MODULE


def test_check_21_a_lone_program_is_a_bare_manifest_unless_an_index_is_asked(make: Maker) -> None:
    assert make().entry["mediaType"] == MANIFEST
    made = make(index=True)
    assert made.entry["mediaType"] == INDEX
    (entry,) = made.document()["manifests"]
    assert entry["platform"] == {"architecture": "wasm", "os": "wasi"}


def test_check_22_a_mixed_index_is_natives_first_every_entry_with_its_platform(make: Maker) -> None:
    made = make(MIXED)
    assert made.entry["mediaType"] == made.document()["mediaType"] == INDEX
    platforms = [entry["platform"] for entry in made.document()["manifests"]]
    assert platforms == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
        {"architecture": "wasm", "os": "wasi"},
    ]
    for entry in made.document()["manifests"]:
        config = made.config(made.document(entry))
        assert {"architecture": config["architecture"], "os": config["os"]} == entry["platform"]


def entry_for(entries: list[dict[str, Any]], os: str, architecture: str) -> dict[str, Any]:
    return next(e for e in entries if (e["platform"]["os"], e["platform"]["architecture"]) == (os, architecture))


def containerd(entries: list[dict[str, Any]], os: str, architecture: str) -> dict[str, Any]:
    """Matching entries and those without platform, the latter sorted last; the first is taken (core/images)."""
    wanted = (os, architecture, "")
    kept = [e for e in entries if "platform" not in e or _triple(e) == wanted]
    return sorted(kept, key=lambda e: "platform" not in e)[0]


def c_image(entries: list[dict[str, Any]], os: str, architecture: str) -> dict[str, Any]:
    """Exact os and architecture, in the index's order; entries without a platform are the last resort."""
    exact = [e for e in entries if "platform" in e and _triple(e)[:2] == (os, architecture)]
    return (exact or [e for e in entries if "platform" not in e])[0]


def ggcr(entries: list[dict[str, Any]], os: str, architecture: str) -> dict[str, Any]:
    """The first match; an entry without a platform counts as linux/amd64."""
    default = {"os": "linux", "architecture": "amd64"}
    return next(e for e in entries if _triple({"platform": e.get("platform", default)})[:2] == (os, architecture))


def oci_client(entries: list[dict[str, Any]], os: str, architecture: str) -> dict[str, Any]:
    """The host's os and architecture; entries without a platform are skipped."""
    return next(e for e in entries if "platform" in e and _triple(e)[:2] == (os, architecture))


def _triple(entry: dict[str, Any]) -> tuple[str, str, str]:
    platform = entry["platform"]
    return platform["os"], platform["architecture"], platform.get("variant", "")


@pytest.mark.parametrize("select", [containerd, c_image, ggcr, oci_client])
@pytest.mark.parametrize("os, architecture", [("linux", "amd64"), ("linux", "arm64"), ("wasi", "wasm")])
def test_check_23_every_client_finds_its_entry(make: Maker, select: Any, os: str, architecture: str) -> None:
    made = make(MIXED)
    entries = made.document()["manifests"]
    chosen = select(entries, os, architecture)
    assert chosen == entry_for(entries, os, architecture)
    program = {"amd64": MIXED["app-linux-amd64"], "arm64": MIXED["app-linux-arm64"], "wasm": MIXED["app.wasm"]}
    with tarfile.open(fileobj=io.BytesIO(made.tar(made.document(chosen)))) as archive:
        (member,) = archive.getmembers()
        stream = archive.extractfile(member)
        assert stream is not None
        assert stream.read() == program[architecture]
        assert member.name == ("app.wasm" if architecture == "wasm" else "app")


@pytest.mark.parametrize("shape", [name for name, shape in SHAPES.items() if not shape.indexable])
def test_check_24_no_artifact_stands_in_a_runnable_index(make: Maker, shape: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        make(MIXED, format=shape)
    assert caught.value.code == "shape-conflict"
    with pytest.raises(UsageError):
        make(format=shape, index=True)
    if shape != "compat":  # an ordinary image to everyone but its two consumers
        lone = make(format=shape)
        with pytest.raises(UsageError) as joined:
            join(f"oci:{lone.place}", tag=f"oci:{tmp_path}/joined.oci:1")
        assert joined.value.code == "not-runnable"


def test_check_25_machine_and_platform_agree_and_a_dynamic_binary_is_refused(make: Maker) -> None:
    with pytest.raises(UsageError) as caught:
        make({"app": programs.elf("amd64")}, platform=["linux/arm64"])
    assert caught.value.code == "platform-mismatch"
    dynamic = programs.elf("amd64", interpreter=b"/lib64/ld-linux-x86-64.so.2")
    with pytest.raises(InputError) as refused:
        make({"app": dynamic})
    assert refused.value.code == "dynamic-binary"
    assert "ld-linux" in refused.value.message
    assert make({"app": dynamic}, allow_dynamic=True).config()["architecture"] == "amd64"


class Recording(MemoryStore):
    """Notes the order of pushes and tags."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []

    def push(self, blob: Any, flow: Flow) -> Pushed:
        pushed = super().push(blob, flow)
        self.order.append(str(blob.descriptor.digest))
        return pushed

    def tag(self, descriptor: Descriptor, name: str | None) -> None:
        super().tag(descriptor, name)
        self.order.append(f"tag {name}")


def test_check_26_blobs_go_before_manifests_children_before_the_index_names_last(make: Maker) -> None:
    made = make(MIXED)
    source, target = LayoutStore(made.place), Recording()
    with Flow.open() as flow, target:
        copy(source, source.resolve(""), target, names=["1"], flow=flow)
    place = {digest: position for position, digest in enumerate(target.order)}
    assert target.order[-1] == "tag 1"
    assert target.order[-2] == made.entry["digest"]
    for entry in made.document()["manifests"]:
        manifest = made.document(entry)
        for child in (manifest["config"], *manifest["layers"]):
            assert place[child["digest"]] < place[entry["digest"]]


def test_check_26_the_empty_config_is_pushed_too(make: Maker) -> None:
    source, target = LayoutStore(make(format="wasm-to-oci").place), Recording()
    with Flow.open() as flow, target:
        copy(source, source.resolve(""), target, flow=flow)
    assert EMPTY in target.order


def test_check_27_the_layout_is_named_for_every_reader(make: Maker) -> None:
    made = make(tags=["hello:1"])
    assert (made.place / "oci-layout").read_bytes() == b'{"imageLayoutVersion":"1.0.0"}'
    blobs = list((made.place / "blobs" / "sha256").iterdir())
    assert len(blobs) == 3
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in blobs)
    assert made.entry["annotations"] == {
        "org.opencontainers.image.ref.name": "1",
        "io.containerd.image.name": "docker.io/library/hello:1",
    }


def test_check_28_dockers_manifest_is_for_one_platform_of_tar_layers(tmp_path: Path) -> None:
    for name, data in MIXED.items():
        (tmp_path / name).write_bytes(data)
    paths = [tmp_path / name for name in MIXED]
    pack(paths[0], output=str(tmp_path / "one.tar"), tags=["hello:1"])
    with tarfile.open(tmp_path / "one.tar") as archive:
        stream = archive.extractfile("manifest.json")
        assert stream is not None
        (said,) = json.load(stream)
        config = archive.extractfile(said["Config"])
        assert config is not None
        assert len(said["Layers"]) == len(json.load(config)["rootfs"]["diff_ids"]) == 1
        assert all(archive.getmember(layer).isreg() for layer in said["Layers"])
        assert said["RepoTags"] == ["docker.io/library/hello:1"]
    pack(*paths, output=str(tmp_path / "many.tar"))
    with tarfile.open(tmp_path / "many.tar") as archive:
        assert "manifest.json" not in archive.getnames()
    with pytest.raises(OcibuildError) as caught:
        pack(*paths, output=f"docker-archive:{tmp_path}/x.tar")
    assert caught.value.code == "archive-shape"
    assert not (tmp_path / "x.tar").exists()


@pytest.mark.parametrize("artifact_type", ["application/spdx+json", None])
def test_check_29_without_oci_subject_the_fallback_tag_is_updated_once(
    artifact_type: str | None, make: Maker, tmp_path: Path
) -> None:
    made = make()
    subject = {key: made.entry[key] for key in ("mediaType", "digest", "size")}
    config, kind = ({}, "application/vnd.oci.empty.v1+json") if artifact_type else ({"x": 1}, "application/vnd.x+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        **({"artifactType": artifact_type} if artifact_type else {}),
        "config": {"mediaType": kind, **described(json.dumps(config).encode())},
        "layers": [],
        "subject": subject,
        "annotations": {"team": "blue"},
    }
    attached = json.dumps(manifest).encode()
    for data in (json.dumps(config).encode(), attached):
        (made.place / "blobs" / described(data)["digest"].replace(":", "/")).write_bytes(data)
    index = json.loads((made.place / "index.json").read_bytes())
    index["manifests"].append({"mediaType": MANIFEST, **described(attached)})
    (made.place / "index.json").write_text(json.dumps(index))
    with Registry() as registry:
        for _ in range(2):
            push(f"oci:{made.place}", f"{registry.host}/hello:1", referrers=True)
        tag = "sha256-" + subject["digest"].removeprefix("sha256:")
        kind_of_list, data = registry.manifests["hello", registry.tags["hello", tag]]
        assert len(registry.requests("PUT", f"/manifests/{tag}")) == 1
    listed = json.loads(data)
    assert (kind_of_list, listed["mediaType"], listed["schemaVersion"]) == (INDEX, INDEX, 2)
    assert listed["manifests"] == [
        {
            "mediaType": MANIFEST,
            **described(attached),
            "artifactType": artifact_type or kind,
            "annotations": {"team": "blue"},
        }
    ]


def described(data: bytes) -> dict[str, Any]:
    return {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}


@pytest.mark.parametrize("shape", SHAPES)
def test_check_30_no_shape_has_an_artifact_type_as_none_has_the_empty_config_type(make: Maker, shape: str) -> None:
    manifest = make(format=shape).document()
    assert "artifactType" not in manifest
    assert manifest["config"]["mediaType"] != "application/vnd.oci.empty.v1+json"
