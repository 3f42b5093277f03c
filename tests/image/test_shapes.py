"""Our configs against BuildKit's, recorded from a real engine (tests/vectors/buildkit), member by member."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ocibuild.api.pack import pack
from ocibuild.content.codec import decompressed
from ocibuild.errors import UsageError
from ocibuild.image.shapes import SHAPES, shape
from ocibuild.spec.manifest import Manifest
from ocibuild.store.base import fetch
from ocibuild.store.graph import node
from ocibuild.store.layout import LayoutStore
from ocibuild.testing import programs

VECTORS = Path(__file__).parents[1] / "vectors" / "buildkit"

# The vector, our options for the same Dockerfile, and the name of the program there.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "01-wasm": ("app.wasm", {"mode": "0644"}),
    "04-cmd-exec": ("native", {"cmd": '["/native","--help"]'}),
    "06-env": ("native", {"env": ["A=1", "B=two words", "C=three words", "D=1-two words"]}),
    "07-path-override": ("native", {"env": ["PATH=/bin"], "name": "bin/native"}),
    "09-label": ("native", {"label": ["a=1", "b c=d e", "multi=xy"]}),
    "10-user": ("native", {"user": "65532:65532"}),
    "11-expose": ("native", {"expose": ["80", "443/tcp", "53/udp", "8000", "8001", "8002"]}),
    "12-volume": ("native", {"volume": ["/data", "/logs", "/x"]}),
    "13-stopsignal-health": ("native", {"stop_signal": "SIGINT"}),
}


def packed(tmp_path: Path, name: str, said: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    program = tmp_path / name
    program.write_bytes(programs.MODULE if name.endswith(".wasm") else programs.elf())
    pack(program, output=f"oci:{tmp_path}/out.oci", **said)
    store = LayoutStore(tmp_path / "out.oci")
    manifest = node(store, store.resolve(""))
    assert isinstance(manifest, Manifest)
    layer = decompressed(io.BytesIO(fetch(store, manifest.layers[0])), "gzip", "").read()
    return json.loads(fetch(store, manifest.config)), layer


@pytest.mark.parametrize("case", CASES)
def test_the_config_is_buildkits(case: str, tmp_path: Path) -> None:
    vector = json.loads((VECTORS / f"{case}.json").read_text())
    name, said = CASES[case]
    ours, layer = packed(tmp_path, name, said)
    theirs = vector["config"]
    expected = dict(theirs["config"])
    # Dockerfiles without ENTRYPOINT start nothing; here the program always is the entrypoint.
    expected.setdefault("Entrypoint", [f"/{said.get('name', name)}"])
    # Windows' own, and out of use (config.md: "ArgsEscaped is deprecated"); health checks are no part of OCI's config.
    expected.pop("ArgsEscaped", None)
    expected.pop("Healthcheck", None)
    assert ours["config"] == expected
    assert (ours["os"], ours["architecture"]) == (theirs["os"], theirs["architecture"])
    assert ours["rootfs"]["type"] == theirs["rootfs"]["type"]
    assert len(ours["rootfs"]["diff_ids"]) == theirs["rootfs"]["diff_ids"] == 1
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        found = [(m.name, "dir" if m.isdir() else "file", oct(m.mode), m.uid, m.gid) for m in archive.getmembers()]
    assert found == [(e["path"], e["type"], e["mode"], e["uid"], e["gid"]) for e in vector["layers"][0]]


def words(created_by: str) -> tuple[str, str]:
    first, _, rest = created_by.partition(" ")
    return first, rest


@pytest.mark.parametrize("case", CASES)
def test_history_reads_like_buildkits(case: str, tmp_path: Path) -> None:
    vector = json.loads((VECTORS / f"{case}.json").read_text())
    name, said = CASES[case]
    ours = [dict(line) for line in packed(tmp_path, name, said)[0]["history"]]
    assert {line.pop("created") for line in ours} == {"1970-01-01T00:00:00Z"}
    for theirs in vector["config"]["history"]:
        verb, rest = words(theirs["created_by"])
        same = [line for line in ours if words(line["created_by"])[0] == verb]
        if verb == "HEALTHCHECK":
            assert not same
            continue
        (line,) = same
        assert line["comment"] == theirs["comment"]
        assert line.get("empty_layer") == theirs.get("empty_layer")
        if verb == "COPY":
            # Theirs may copy to a folder; ours names the file.
            assert line["created_by"].endswith("# buildkit")
        elif verb in ("ENV", "VOLUME"):
            # Several instructions of theirs are one line of ours, with the same words in it.
            assert set(rest.strip("[]").split()) <= set(words(line["created_by"])[1].strip("[]").split())
        else:
            assert line["created_by"] == theirs["created_by"]


def test_the_simplest_history_is_buildkits_to_the_letter(tmp_path: Path) -> None:
    vector = json.loads((VECTORS / "01-wasm.json").read_text())
    ours = packed(tmp_path, "app.wasm", {})[0]["history"]
    assert [{k: v for k, v in line.items() if k != "created"} for line in ours] == [
        {key: line[key] for key in ("created_by", "comment", "empty_layer") if key in line}
        for line in vector["config"]["history"]
    ]


def test_a_shape_is_known_by_its_name() -> None:
    assert [shape(name).name for name in SHAPES] == list(SHAPES)
    with pytest.raises(UsageError) as caught:
        shape("docker")
    assert caught.value.code == "shape-unknown"
    assert all(name in (caught.value.hint or "") for name in SHAPES)
