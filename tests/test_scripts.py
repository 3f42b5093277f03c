"""scripts/ocibuild sets itself up once, whole, and then stays out of the way. Run on a checkout of its own, no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = "import json, os, sys\nprint(json.dumps([os.getcwd(), *sys.argv[1:]]))\n"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the scripts are for POSIX shells")


def checkout(folder: Path) -> Path:
    """The real scripts around a program that prints where it is and what it was told; its lock asks for nothing."""
    folder.mkdir()
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    (folder / "requirements").mkdir()
    (folder / "requirements" / "run.txt").write_text("# nothing\n")
    (folder / "ocibuild").mkdir()
    (folder / "ocibuild" / "__init__.py").touch()
    (folder / "ocibuild" / "__main__.py").write_text(PROGRAM)
    return folder


def call(program: Path, *words: str, cwd: Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Without a home folder, and with the Python that runs this test as python3."""
    return subprocess.run(
        [program, *words],
        cwd=cwd,
        env={"PATH": path or f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that was set up by two first runs at once."""
    root = checkout(tmp_path_factory.mktemp("scripts") / "check out")
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda n: call(root / "scripts/ocibuild", str(n), cwd=root), (1, 2)))
    assert [run.returncode for run in runs] == [0, 0], [run.stderr for run in runs]
    assert sorted(run.stdout for run in runs) == [f'["{root}", "{n}"]\n' for n in (1, 2)]
    assert sum(run.stderr.count("setting up") for run in runs) == 1
    return root


def test_the_second_run_sets_nothing_up(ready: Path, tmp_path: Path) -> None:
    setup = ready / "scripts/environment.py"
    aside = setup.rename(tmp_path / "aside.py")
    try:
        run = call(ready / "scripts/ocibuild", "a b", "", "$x", cwd=tmp_path)
    finally:
        aside.rename(setup)
    assert (run.stdout, run.stderr) == (f'["{tmp_path}", "a b", "", "$x"]\n', "")


def test_modules_of_the_folder_it_is_called_from_are_not_imported(ready: Path, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')\n")
    (tmp_path / "ocibuild").mkdir()
    (tmp_path / "ocibuild/__main__.py").write_text("raise SystemExit('shadowed')\n")
    run = call(ready / "scripts/ocibuild", cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")


def test_it_is_found_through_links(ready: Path, tmp_path: Path) -> None:
    (tmp_path / "absolute").symlink_to(ready / "scripts/ocibuild")
    (tmp_path / "relative").symlink_to("absolute")
    run = call(tmp_path / "relative", "x", cwd=tmp_path)
    assert (run.stdout, run.stderr) == (f'["{tmp_path}", "x"]\n', "")


def test_programs_that_pip_installs_start(ready: Path, tmp_path: Path) -> None:
    run = call(ready / ".cache/env-run/bin/pip", "--version", cwd=tmp_path)
    assert run.returncode == 0
    assert str(ready / ".cache/env-run") in run.stdout


def test_a_lock_that_cannot_be_installed_leaves_nothing_and_the_next_run_recovers(tmp_path: Path) -> None:
    root = checkout(tmp_path / "checkout")
    lock = root / "requirements/run.txt"
    lock.write_text("./nothing-here.whl --hash=sha256:" + "0" * 64 + "\n")
    run = call(root / "scripts/ocibuild", cwd=tmp_path)
    assert run.returncode != 0
    assert run.stdout == ""
    assert "could not be installed" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (root / ".cache/env-run").exists()
    lock.write_text("# nothing\n")
    assert call(root / "scripts/ocibuild", cwd=tmp_path).returncode == 0


def test_without_a_new_enough_python_it_says_what_to_install(tmp_path: Path) -> None:
    root = checkout(tmp_path / "checkout")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "cmp", "dirname", "readlink"):
        (tools / name).symlink_to(shutil.which(name) or name)
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    run = call(root / "scripts/ocibuild", cwd=tmp_path, path=str(tools))
    assert (run.returncode, run.stdout) == (1, "")
    assert "Python 3.11" in run.stderr
    assert "python3-venv" in run.stderr
