"""From sources to a registry, and from there to a running program."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.servers import Ocibuild, Part, Running

pytestmark = pytest.mark.real
SAMPLES = Path(__file__).parents[2] / "samples"


def test_sources_are_built_pushed_and_run(ocibuild: Ocibuild, registry: Running, part: Part, tmp_path: Path) -> None:
    # A home of its own would have Go compile its library once more.
    cache = subprocess.run([part("go"), "env", "GOCACHE"], capture_output=True, text=True, check=True, timeout=60)
    (tmp_path / "home" / ".cache").mkdir()
    (tmp_path / "home" / ".cache" / "go-build").symlink_to(cache.stdout.strip())
    shutil.copytree(SAMPLES / "go" / "hello", tmp_path / "a")
    name = f"{registry.host}/team/hello"
    words = ("build", tmp_path / "a", "--platform", "wasi/wasm,linux/amd64", "-t", f"{name}:1", "--push", "--json")
    pushed = json.loads(ocibuild(*words, seconds=300))
    digest = pushed["containerimage.digest"]
    assert pushed["references"] == [f"{name}@{digest}"]
    index = json.loads(ocibuild("manifest", f"{name}:1"))
    assert [entry["platform"] for entry in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "wasm", "os": "wasi"},
    ]
    assert ocibuild("run", f"{name}:1", "--", "one") == "Hello, Docker!\nargument: one\n"
    again = json.loads(ocibuild(*words, seconds=300))
    assert again["containerimage.digest"] == digest
    assert again["pushed"][0]["written"] == 0, again["pushed"]
