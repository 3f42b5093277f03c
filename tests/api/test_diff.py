"""diff: each kind of difference, in words; nothing where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ocibuild.api.diff import diff
from ocibuild.api.pack import pack
from ocibuild.cli.verbs import cli

SAMPLES = Path(__file__).parents[2] / "samples"
WASM = SAMPLES / "hello.wasm"
NATIVE = SAMPLES / "hello-linux-amd64"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pack(WASM, output="a.oci")


def words(*files: Path, **options: Any) -> list[str]:
    pack(*(files or (WASM,)), output="b.oci", **options)
    return [str(difference) for difference in diff("a.oci", "b.oci")]


def test_the_same_image_packed_twice() -> None:
    assert words() == []
    assert CliRunner().invoke(cli, ["diff", "a.oci", "b.oci"]).exit_code == 0


def test_the_exit_status_and_the_json_of_a_difference() -> None:
    words(cmd="--x")
    result = CliRunner().invoke(cli, ["diff", "a.oci", "b.oci", "--json"])
    assert result.exit_code == 3
    assert {"where": "config.config.Cmd[0]", "old": None, "new": "--x"} in json.loads(result.stdout)


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"env": ("A=B",)}, "config.config.Env[1]: added A=B"),
        ({"platform": ("wasip1/wasm",)}, "config.os: wasi -> wasip1"),
        ({"annotation": ("k=v",)}, "annotation k: added v"),
        ({"mode": "0700"}, "/hello.wasm mode: 0755 -> 0700"),
        ({"created": "5"}, "/hello.wasm mtime: 0 -> 5"),
        ({"name": "other.wasm"}, "/hello.wasm: removed file of"),
        ({"compression": "gzip:9"}, "layer 0, same content, another compressor or level: "),
        ({"compression": "zstd"}, "layer 0 media type: application/vnd.oci.image.layer.v1.tar+gzip -> "),
        ({"format": "artifact"}, "format: image -> artifact"),
        ({"index": True}, "kind: a single image -> an index"),
        ({"add": (f"{NATIVE}:/second",)}, "/second: added file of"),
    ],
)
def test_each_kind_of_difference(options: dict[str, Any], expected: str) -> None:
    found = words(**options)
    assert any(line.startswith(expected) for line in found), found


def test_the_first_byte_that_differs() -> None:
    changed = bytearray(WASM.read_bytes())
    changed[-3] ^= 1
    Path("hello.wasm").write_bytes(changed)
    assert words(Path("hello.wasm")) == [f"/hello.wasm content: equal -> different from byte {len(changed) - 3} on"]
    for name, file in (("x.oci", WASM), ("y.oci", Path("hello.wasm"))):
        pack(file, output=name, format="wasm-to-oci")
    at = f"layer 0 content: equal -> different from byte {len(changed) - 3} on"
    assert [str(each) for each in diff("x.oci", "y.oci")] == [at]


def test_platforms_of_indexes() -> None:
    pack(WASM, NATIVE, output="x.oci")
    pack(WASM, NATIVE, SAMPLES / "hello-linux-arm64", output="y.oci", env=("A=B",))
    found = [str(each) for each in diff("x.oci", "y.oci")]
    assert "platform: added linux/arm64" in found
    assert "linux/amd64: config.config.Env[1]: added A=B" in found
