"""Servers and engines started for one test session."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import engines, layouts
from tests.e2e.servers import KINDS, Ocibuild, Part, Run, Running, Served, serving

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def registry(part: Part, tmp_path: Path) -> Iterator[Running]:
    """Debian's docker-registry with an empty store."""
    with serving("docker-registry", part, tmp_path / "registry") as served:
        yield Running(served.host, served.log)


@pytest.fixture(params=KINDS)
def served(request: pytest.FixtureRequest, part: Part, tmp_path: Path) -> Iterator[Served]:
    """Each of the real registries in turn, with an empty store."""
    with serving(request.param, part, tmp_path / "registry") as running:
        yield running


@pytest.fixture(scope="session")
def containerd_engine(part: Part) -> Iterator[engines.Containerd]:
    """A containerd 2 for the session."""
    with engines.containerd(part) as engine:
        yield engine


@pytest.fixture(scope="session")
def docker_engine(part: Part, containerd_engine: engines.Containerd) -> Iterator[engines.Docker]:
    """A Docker engine for the session, beside that containerd."""
    with engines.docker(part, containerd_engine) as daemon:
        yield daemon


@pytest.fixture
def ocibuild(tmp_path: Path) -> Ocibuild:
    """The command line, with an empty home."""
    return Ocibuild(tmp_path / "home")


@pytest.fixture
def image(ocibuild: Ocibuild, tmp_path: Path) -> tuple[Path, str]:
    """A layout with an index of three platforms, and its digest."""
    files = [SAMPLES / name for name in ("hello.wasm", "hello-linux-amd64", "hello-linux-arm64")]
    ocibuild("pack", *files, "-t", "localhost/hello:1", "-o", tmp_path / "hello.oci")
    return tmp_path / "hello.oci", layouts.root(tmp_path / "hello.oci")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """A folder for much data, emptied at once: pytest would keep the last three runs'."""
    folder = tmp_path / "room"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command to its end and give its stdout; a failure shows what it said."""

    def command(*words: str, seconds: int = 120, cwd: Path | None = None) -> str:
        result = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=cwd or tmp_path,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if result.returncode:
            pytest.fail(
                f"{' '.join(words)} failed ({result.returncode}):\n{result.stdout[-1500:]}\n{result.stderr[-3000:]}"
            )
        return result.stdout

    return command
