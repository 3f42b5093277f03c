"""`ocibuild bake` against real registries: what it pushed is what crane and the registry say is there."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.servers import Ocibuild, Part, Served

pytestmark = pytest.mark.real
SAMPLES = Path(__file__).parents[2] / "samples"
FILE = """
schema = 1

[vars]
host = {}

[targets."f-${stem}"]
each = "hello*.wasm"
tags = ["${host}/f/${stem}:1", "${host}/f/${stem}:latest"]

[targets.all]
files = ["hello.wasm", "hello-linux-*"]
tags = ["${host}/all:1"]

[targets.site]
build = "site"
platform = ["wasi/wasm"]
tags = ["${host}/site:1"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    (path / "site").mkdir(parents=True)
    for name in ("hello.wasm", "hello-command.wasm", "hello-linux-amd64", "hello-linux-arm64"):
        shutil.copy(SAMPLES / name, path)
    (path / "ocibuild.toml").write_text(FILE)
    (path / "site" / "Dockerfile").write_text(
        'FROM scratch\nCOPY --from=target:f-hello /hello.wasm /app.wasm\nENTRYPOINT ["/app.wasm"]\n'
    )
    return path


def crane(part: Part) -> Callable[..., str]:
    program = part("crane")

    def call(*words: str) -> str:
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()

    return call


@pytest.mark.parametrize("executor", ["threads", "process"])
def test_a_file_of_targets_is_pushed_and_found_up_to_date(
    executor: str, served: Served, part: Part, folder: Path, ocibuild: Ocibuild
) -> None:
    words = ("bake", "--config", folder, "--json", "--push", "--executor", executor, "--set", f"host={served.host}")
    made = json.loads(ocibuild(*words))["targets"]
    look = crane(part)
    assert list(made) == ["f-hello-command", "f-hello", "all", "site"]
    for name, target in made.items():
        for tag in target["image.name"].split(","):
            assert look("digest", tag) == target["containerimage.digest"], name
        look("validate", "--remote", target["references"][0])
    index = json.loads(look("manifest", f"{served.host}/all:1"))
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64", "wasm"]
    again = json.loads(ocibuild(*words))["targets"]
    assert {name: target["state"] for name, target in again.items()} == dict.fromkeys(made, "cached")
    assert {name: target["containerimage.digest"] for name, target in again.items()} == {
        name: target["containerimage.digest"] for name, target in made.items()
    }
    assert again["site"]["sent"] == 0
