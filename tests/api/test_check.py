"""check: images written wrong on purpose, and the finding that says so."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ocibuild.api.check import Finding, check
from ocibuild.api.pack import pack
from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.errors import UsageError
from ocibuild.spec import jsonform, mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.spec.platform import Platform
from ocibuild.spec.schema import validate
from ocibuild.store.layout import LayoutStore

ROOT = Path(__file__).parents[2]
WASM = ROOT / "samples" / "hello.wasm"
NATIVE = ROOT / "samples" / "hello-linux-amd64"
MODULE = b"\0asm\1\0\0\0"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def codes(found: tuple[Finding, ...]) -> set[str]:
    return {each.code for each in found}


def tar(*entries: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def image(
    layer: bytes | None = None, *, annotations: dict[str, str] | None = None, entry: bool = False, **members: Any
) -> set[str]:
    """The codes for an image made by hand: one plain layer, a config with `members` over a right one."""
    layer = tar(("x", WASM.read_bytes())) if layer is None else layer
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(layer))]}
    document = {"os": "wasi", "architecture": "wasm", "config": {"Entrypoint": ["/x"]}, "rootfs": rootfs, **members}
    config = Blob.of(mediatype.CONFIG, jsonform.dump(document))
    body = Blob.of(mediatype.LAYER, layer)
    manifest = Manifest(config.descriptor, (body.descriptor,), annotations=annotations or {})
    root = Blob.of(mediatype.MANIFEST, manifest.to_bytes())
    write("made", config, body, root)
    return codes(check("made"))


def write(folder: str, *blobs: Blob) -> None:
    with LayoutStore(folder) as store, Flow.open() as flow:
        for blob in blobs:
            store.push(blob, flow)
        store.tag(blobs[-1].descriptor, "x")


def test_what_pack_writes_is_fit() -> None:
    pack(WASM, NATIVE, output="many.oci")
    pack(WASM, output="raw.oci", format="wasm-layer")
    assert codes(check("many.oci")) <= {"created-1970", "not-stripped"}
    assert codes(check("raw.oci", consumer="kubernetes")) <= {"created-1970"}
    assert check(str(WASM)) == ()


@pytest.mark.parametrize(
    "members, code",
    [
        ({"os": ""}, "config-incomplete"),
        ({"architecture": "wasm32"}, "platform-wasm32"),
        ({"os": "linux"}, "platform-linux-wasm"),
        ({"rootfs": {"type": "layers", "diff_ids": []}}, "diff-id-count"),
        ({"rootfs": {"type": "layers", "diff_ids": [str(Digest.of(b""))]}}, "diff-id-mismatch"),
        ({"history": [{"created_by": "a"}, {"created_by": "b"}]}, "history-count"),
        ({"created": "1970-01-01T00:00:00Z"}, "created-1970"),
        ({"config": {}}, "entrypoint-missing"),
        ({"config": {"Entrypoint": ["x"]}}, "entrypoint-relative"),
        ({"config": {"Entrypoint": ["/y"]}}, "entrypoint-not-found"),
        ({"annotations": {"run.oci.handler": "wasm"}}, "handler-baked"),
        ({"layer": tar(("x", b"#!/bin/sh"))}, "entrypoint-not-program"),
        ({"layer": tar(("x", MODULE))}, "no-entry-point"),
        ({"layer": tar(("x", NATIVE.read_bytes()))}, "not-executable"),
        ({"layer": tar(("x", NATIVE.read_bytes()))}, "machine-mismatch"),
        ({"layer": tar(("x", MODULE), ("../x", b""))}, "layer-path-unsafe"),
        ({"layer": tar(("x", MODULE), ("x", MODULE))}, "layer-path-duplicate"),
        ({"layer": tar(("x", MODULE), ("x/y", b""))}, "layer-path-orphan"),
        ({"layer": b"no tar at all" * 100}, "layer-invalid"),
    ],
)
def test_what_is_wrong_is_found(members: dict[str, Any], code: str) -> None:
    assert code not in image()
    assert code in image(**members)


def test_indexes() -> None:
    pack(WASM, output="oci:made:raw", format="wasm-layer")
    raw = LayoutStore("made").resolve("raw")
    platforms = (Platform("wasi", "wasm"), Platform("linux", "amd64"), None)
    entries = tuple(Descriptor(raw.media_type, raw.digest, raw.size, platform=each) for each in platforms)
    for name, chosen in (("three", entries), ("one", entries[:1])):
        write("made", Blob.of(mediatype.INDEX, Index(chosen).to_bytes()))
        with LayoutStore("made") as store:
            store.tag(Descriptor.of(mediatype.INDEX, Index(chosen).to_bytes()), name)
    expected = {"index-order", "raw-in-index", "entry-without-platform", "platform-differs"}
    assert expected <= codes(check("oci:made:three"))
    assert "index-of-one" in codes(check("oci:made:one"))


def test_consumers() -> None:
    pack(WASM, output="a.oci", compression="zstd")
    assert {"compression-refused", "plugin-missing", "consumer-refuses"} <= codes(check("a.oci", consumer="istio"))
    assert "consumer-shape" in codes(check("a.oci", consumer="wkg"))
    with pytest.raises(UsageError):
        check("a.oci", consumer="nobody")


@pytest.mark.parametrize(
    "options, found",
    [
        ({}, {"layer-not-unpacked"}),
        ({"platform": ("wasip1/wasm",)}, {"layer-not-unpacked"}),
        ({"index": True}, {"index-not-for-nodes", "index-of-one"}),
        ({"format": "artifact"}, {"artifact-without-command"}),
        ({"format": "wasm-layer"}, set()),
        ({"also": ("linux/amd64",)}, set()),
    ],
)
def test_what_a_cluster_would_say_is_said_before(options: dict[str, Any], found: set[str]) -> None:
    """Held against containerd's CRI itself in tests/e2e/test_cri.py."""
    pack(WASM, output="a.oci", created="2026-01-01T00:00:00Z", **options)
    assert codes(check("a.oci", consumer="kubernetes")) == found
    assert codes(check("a.oci", consumer="runwasi")) == found & {"index-of-one"}


def test_a_cluster_runs_the_native_entry_of_an_index() -> None:
    pack(WASM, NATIVE, output="a.oci", created="2026-01-01T00:00:00Z")
    assert codes(check("a.oci", consumer="kubernetes")) - {"not-stripped"} == {"index-native-chosen"}
    assert codes(check("a.oci", consumer="containerd")) <= {"not-stripped"}


def test_a_damaged_blob() -> None:
    packed = pack(WASM, output="a.oci")
    blob = Path("a.oci/blobs") / packed.digest.replace(":", "/")
    next(each for each in blob.parent.iterdir() if each != blob).unlink()
    assert codes(check("a.oci")) == {"blob-invalid"}


def test_files_that_are_no_programs_are_findings() -> None:
    Path("x").write_bytes(b"#!/bin/sh\n")
    assert codes(check("x")) == {"format-script"}


def test_exit_status_and_json() -> None:
    Path("x.wasm").write_bytes(MODULE)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ocibuild", "check", *words]
        environ = {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False)

    done = run("x.wasm", "--json")
    document = json.loads(done.stdout)
    validate(document, "check")
    assert (done.returncode, [each["code"] for each in document["findings"]]) == (0, ["no-entry-point"])
    assert run("x.wasm", "--strict").returncode == 3
    assert run("x.wasm", "--for", "istio").returncode == 3


def test_the_document_lists_every_code() -> None:
    source = (ROOT / "ocibuild" / "api" / "check.py").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([a-z0-9-]+)`", (ROOT / "docs" / "checks.md").read_text(encoding="utf-8"), re.M))
    raised = set(re.findall(r'Finding\(\s*"([a-z0-9-]+)"', source))
    assert documented - raised == {"layer-path-unsafe", "layer-path-duplicate", "layer-path-orphan"}
    assert raised <= documented


@pytest.mark.parametrize(
    "section, code",
    [
        (b"\1\4\1\x60\0\0" + b"\2\x13\1\x0dwasi_unstable\1f\0\0", "wasi-unstable"),
        (b"\0\x17\x0b.debug_info" + bytes(11), "debug-sections"),
    ],
)
def test_modules_that_are_old_or_heavy(section: bytes, code: str) -> None:
    Path("x.wasm").write_bytes(MODULE + section)
    assert code in codes(check("x.wasm"))


def test_an_artifact_of_two_layers() -> None:
    layers = [Blob.of(mediatype.WASM_LAYER, MODULE), Blob.of(mediatype.WASM_LAYER, WASM.read_bytes())]
    config = Blob.of(mediatype.WASM_CONFIG, b"{}")
    manifest = Manifest(config.descriptor, tuple(layer.descriptor for layer in layers))
    write("made", config, *layers, Blob.of(mediatype.MANIFEST, manifest.to_bytes()))
    assert codes(check("made")) == {"artifact-layers", "program-ambiguous"}


def elf(name: str, tmp_path: Path) -> str:
    """A real program of the readers' vectors, unpacked."""
    import lzma

    file = tmp_path / name
    file.write_bytes(lzma.decompress((ROOT / "tests/vectors/elf" / f"{name}.xz").read_bytes()))
    return str(file)


def test_a_dynamic_program_is_found_with_what_it_needs(tmp_path: Path) -> None:
    found = {each.code: each for each in check(elf("go-dynamic", tmp_path))}
    assert found["dynamic-binary"].severity == "error"
    assert "ld-linux" in found["dynamic-binary"].message


def test_a_symbol_table_is_a_hint_and_its_absence_none(tmp_path: Path) -> None:
    assert "not-stripped" in codes(check(elf("c-armv7", tmp_path)))
    assert "not-stripped" not in codes(check(elf("c-stripped", tmp_path)))


def test_a_module_that_carries_a_world_is_not_yet_a_component() -> None:
    assert "not-yet-a-component" in codes(check(str(ROOT / "tests/vectors/wasm/embedded.wasm")))
    assert "not-yet-a-component" not in codes(check(str(WASM)))


def test_what_the_reader_does_not_know_is_said_and_no_error() -> None:
    Path("later.wasm").write_bytes(MODULE + b"\x3f\1\0")  # a section of an id that does not exist yet
    found = {each.code: each for each in check("later.wasm")}
    assert found["not-understood"].severity == "info"
