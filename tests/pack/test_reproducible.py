"""One input, one digest: whatever the user, the umask, the locale, the zone, the folder, the file's own times and modes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ocibuild.testing import programs

ROOT = Path(__file__).parents[2]


def digest(folder: Path, *, umask: int = 0o022, chosen: str = ".", **environ: str) -> str:
    """Pack in a process of its own; returns what stdout says behind the @."""
    done = subprocess.run(
        [sys.executable, "-m", "ocibuild", "pack", f"{chosen}/hello.wasm", "--add", f"{chosen}/conf:/etc", "-o", "oci:out.oci"],
        capture_output=True, text=True, timeout=120, cwd=folder, umask=umask, check=True,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": str(folder), **environ},
    )  # fmt: skip
    return done.stdout.strip().partition("@")[2]


def project(folder: Path) -> Path:
    (folder / "conf").mkdir(parents=True)
    (folder / "hello.wasm").write_bytes(programs.command())
    for name in ("b", "a", "ä", "Z"):
        (folder / "conf" / name).write_text(name)
    return folder


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> str:
    found = digest(project(tmp_path_factory.mktemp("usual") / "p"))
    assert found.startswith("sha256:")
    return found


@pytest.mark.parametrize(
    "environ",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C.UTF-8", "TZ": "Pacific/Auckland"},
        {"TZ": "America/St_Johns", "PYTHONHASHSEED": "1"},
        {"PYTHONHASHSEED": "2", "USER": "someone", "PYTHONOPTIMIZE": "1"},
    ],
)
def test_locale_zone_and_hash_seed(usual: str, tmp_path: Path, environ: dict[str, str]) -> None:
    assert digest(project(tmp_path / "p"), **environ) == usual


@pytest.mark.parametrize("umask", [0, 0o077, 0o027])
def test_umask_and_modes(usual: str, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder = project(tmp_path / "p")
    finally:
        os.umask(before)
    (folder / "hello.wasm").chmod(0o700 if umask else 0o666)
    assert digest(folder, umask=umask) == usual


def test_times_folder_and_the_way_there(usual: str, tmp_path: Path) -> None:
    folder = project(tmp_path / "another place" / "päth")
    for path in (folder / "hello.wasm", folder / "conf" / "a", folder / "conf"):
        os.utime(path, (1, 1))
    assert digest(folder, chosen=str(folder)) == usual


def test_the_number_of_processors(usual: str, tmp_path: Path) -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("no affinity here")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert digest(project(tmp_path / "p")) == usual
    finally:
        os.sched_setaffinity(0, before)


def test_the_time_is_the_only_thing_said_by_the_surroundings(usual: str, tmp_path: Path) -> None:
    assert digest(project(tmp_path / "p"), SOURCE_DATE_EPOCH="5") != usual
