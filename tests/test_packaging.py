"""The wheel and the sdist are whole: the schemas are inside, and the wheel packs from an empty environment."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built with the build backend that is installed here."""
    out = tmp_path_factory.mktemp("dist")
    script = (
        "import sys, hatchling.build as backend; backend.build_sdist(sys.argv[1]); backend.build_wheel(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", script, str(out)], cwd=ROOT, check=True, capture_output=True, timeout=300)
    return out


def test_the_wheel_carries_the_schemas_and_the_type_marker(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    schemas = {f"ocibuild/schemas/{path.name}" for path in (ROOT / "schemas").glob("*.json")}
    assert schemas
    assert schemas <= names
    assert "ocibuild/py.typed" in names
    page = ROOT / "ocibuild" / "serve" / "page"
    parts = [path for folder in ("templates", "assets") for path in (page / folder).iterdir()]
    assert {path.relative_to(ROOT).as_posix() for path in parts} <= names
    assert not any(name.startswith(("tests/", "samples/")) for name in names)


def test_the_sdist_can_be_built_and_tested_from(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "samples/hello.wasm",
        "scripts/ocibuild",
        "requirements/run.txt",
    } <= names
    assert {f"schemas/{path.name}" for path in (ROOT / "schemas").glob("*.json")} <= names


@pytest.mark.real
def test_the_installed_wheel_packs_in_an_empty_environment(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    lock = ROOT / "requirements/run.txt"
    subprocess.run([*install, "--require-hashes", "-r", lock], check=True, timeout=600)
    subprocess.run([*install, "--no-deps", "--no-index", wheel], check=True, timeout=600)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for command in ([python, "-m", "ocibuild"], [python.with_name("ocibuild")]):
        result = subprocess.run(
            [*command, "pack", str(ROOT / "samples/hello.wasm")],
            cwd=elsewhere,
            env=clean,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert result.stdout.startswith("oci:hello.oci@sha256:")
    script = "from ocibuild.spec import schema; import json; print(schema.__file__)"
    where = subprocess.run([python, "-c", script], cwd=elsewhere, env=clean, capture_output=True, text=True, check=True)
    assert str(tmp_path) in where.stdout
