"""Makes the Python environment that the scripts run in: once, from a hashed lock file, and prints nothing but progress.

Usage: environment.py run|test. Started with the system's Python, so it needs nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(name: str) -> int:
    """Make `.cache/env-NAME` from requirements/NAME.txt, whole or not at all; a second process waits for the first."""
    lock = ROOT / "requirements" / f"{name}.txt"
    final = ROOT / ".cache" / f"env-{name}"
    final.parent.mkdir(exist_ok=True)
    with exclusively(final.with_suffix(".lock")):
        if is_made(final, lock):
            return 0
        print(f"setting up {final.relative_to(ROOT)} (once) …", file=sys.stderr, flush=True)
        shutil.rmtree(final, ignore_errors=True)
        try:
            # In its place from the start: the programs that pip writes carry their environment's path.
            venv.create(final, with_pip=True)
            install(final / "bin" / "python", lock)
            stamp = final / "lock.txt.new"
            shutil.copyfile(lock, stamp)
            stamp.rename(final / "lock.txt")  # what says that it is whole, so it comes last
        except BaseException:
            shutil.rmtree(final, ignore_errors=True)
            raise
    return 0


def is_made(final: Path, lock: Path) -> bool:
    """True when the environment stands, was made from this very lock, and its Python still runs."""
    with contextlib.suppress(OSError):
        if (final / "lock.txt").read_bytes() == lock.read_bytes():
            python = final / "bin" / "python"
            return subprocess.run([python, "-c", ""], check=False, timeout=60).returncode == 0
    return False


def install(python: Path, lock: Path) -> None:
    """pip, with every file's hash checked. Its output is shown where it fails."""
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", lock]
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=1800
    )
    if result.returncode:
        print(result.stdout, file=sys.stderr)
        raise SystemExit("the packages could not be installed; is there a network, or a mirror in pip's settings?")


@contextlib.contextmanager
def exclusively(path: Path):
    """One process at a time, as far as the system has locks."""
    with path.open("w") as stream:
        with contextlib.suppress(ImportError):
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1]))
