"""inspect: files, layouts, archives; the document holds against its schema and against other readers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ocibuild.api.inspecting import inspect
from ocibuild.api.pack import pack
from ocibuild.cli.verbs import cli
from ocibuild.errors import ContentError, InputError
from ocibuild.spec.schema import validate

SAMPLES = Path(__file__).parents[2] / "samples"
WASM = SAMPLES / "hello.wasm"
NATIVE = SAMPLES / "hello-linux-amd64"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def look(*words: str) -> Any:
    result = CliRunner().invoke(cli, ["inspect", *words, "--json"], catch_exceptions=False)
    document = json.loads(result.stdout)
    validate(document, "inspect")
    return document


def test_a_module() -> None:
    document = look(str(WASM))
    assert document["digest"] == f"sha256:{hashlib.sha256(WASM.read_bytes()).hexdigest()}"
    program = document["program"]
    assert (program["type"], program["wasi"], program["role"]) == ("module", "preview1", "command")
    assert [group["interface"] for group in program["imports"]] == ["wasi_snapshot_preview1"]
    assert "fd_write" in program["imports"][0]["names"]


def test_a_native_program() -> None:
    program = look(str(NATIVE))["program"]
    assert (program["type"], program["platform"], program["static"]) == ("elf", "linux/amd64", True)


@pytest.mark.parametrize("shape", ["image", "compat", "wasm-layer", "artifact", "solo", "wasm-to-oci"])
def test_every_shape_names_itself_and_its_program(shape: str) -> None:
    packed = pack(WASM, output="a.oci", format=shape)
    document = look("a.oci")
    assert (document["format"], document["digest"]) == (shape, packed.digest)
    assert document["program"]["digest"] == f"sha256:{hashlib.sha256(WASM.read_bytes()).hexdigest()}"


def test_files_with_their_modes() -> None:
    Path("note").write_text("hello")
    pack(WASM, output="a.oci", add=("note:/etc/note:0640",))
    files = {entry["path"]: entry for entry in look("a.oci")["layers"][0]["files"]}
    assert {path: (entry["kind"], entry["mode"], entry["size"]) for path, entry in files.items()} == {
        "/etc": ("dir", "0755", 0),
        "/etc/note": ("file", "0640", 5),
        "/hello.wasm": ("file", "0755", WASM.stat().st_size),
    }


def test_an_index_and_one_of_its_entries() -> None:
    pack(WASM, NATIVE, output="many.oci")
    document = look("many.oci")
    assert [entry["platform"] for entry in document["images"]] == ["linux/amd64", "wasi/wasm"]
    assert look("many.oci", "--platform", "linux/amd64")["digest"] == document["images"][0]["digest"]


def test_a_layout_of_two_lists_them() -> None:
    pack(WASM, output="oci:both:one")
    pack(NATIVE, output="oci:both:two")
    assert [image["name"] for image in look("both")["images"]] == ["one", "two"]


def test_an_archive_is_told_from_a_program() -> None:
    pack(WASM, output="a.tar")
    assert look("a.tar")["place"] == "oci-archive:a.tar"


def test_contents_are_left_alone_when_asked() -> None:
    pack(WASM, output="a.oci")
    document = look("a.oci", "--no-contents")
    assert (document["contentsRead"], document["program"]) == (False, None)
    assert "files" not in document["layers"][0]


def test_the_account_for_people() -> None:
    pack(WASM, NATIVE, output="many.oci", env=("A=B",), label=("x=y",))
    text = CliRunner().invoke(cli, ["inspect", "many.oci"]).stdout
    for word in ("linux/amd64", "wasi/wasm", "A=B", "x=y", "/hello", "core module, command, WASI preview1", "static"):
        assert word in text


def test_what_is_no_program_is_refused_as_pack_refuses_it() -> None:
    Path("x.sh").write_text("#!/bin/sh\n")
    with pytest.raises(InputError) as caught:
        inspect("x.sh")
    assert caught.value.code == "format-script"


def test_the_schema_refuses_a_document_that_is_wrong() -> None:
    document = inspect(str(WASM))
    document["program"]["role"] = "dancer"
    with pytest.raises(ContentError):
        validate(document, "inspect")
