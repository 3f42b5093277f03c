"""`--load` into engines that really run here. Docker's needs its daemon, which test machines do not have."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocibuild.api.pack import pack
from ocibuild.errors import ToolError, UsageError

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store for podman of its own; podman wants its run folder's path short."""
    folder = Path(tempfile.mkdtemp(prefix="ob-"))
    config = folder / "storage.conf"
    config.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(config))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.real
def test_load_hands_the_image_to_podman(storage: Path, part: Callable[[str], str]) -> None:
    podman = part("podman")
    packed = pack(SAMPLES / "hello-linux-amd64", tags=["localhost/loaded:1"], load="podman")
    shown = subprocess.run(
        [podman, "image", "inspect", "localhost/loaded:1"], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(shown.stdout)[0]["Digest"] == packed.digest


def test_a_missing_engine_is_named_with_a_way_round(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError) as caught:
        pack(SAMPLES / "hello.wasm", load="docker")
    assert caught.value.code == "tool-missing"
    assert "-o FILE.tar" in (caught.value.hint or "")


def test_an_unknown_engine_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="rkt") as caught:
        pack(SAMPLES / "hello.wasm", load="rkt")
    assert caught.value.code == "engine-unknown"
    assert "podman" in (caught.value.hint or "")


def test_what_an_engine_says_reaches_the_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ToolError, match="Cannot connect to the Docker daemon") as caught:
        pack(SAMPLES / "hello.wasm", load="docker")
    assert caught.value.code == "load-failed"
    assert caught.value.hint == "start the Docker daemon, or write an archive with -o FILE.tar"
