"""Engines on this machine that take an image from an archive: docker, podman, containerd."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from ocibuild.errors import ToolError, UsageError
from ocibuild.store.archive import write_archive
from ocibuild.store.layout import LayoutStore

_MINUTES = 10
_COMMANDS = {
    "docker": ("docker", ["load", "--input"]),
    "podman": ("podman", ["load", "--input"]),
    "containerd": ("ctr", ["images", "import", "--all-platforms"]),
}
_CURES = {
    (
        "docker",
        "operating system",
    ): "Docker's classic store refuses wasi images: turn on the containerd image store, or use --load containerd",
    ("docker", "daemon"): "start the Docker daemon, or write an archive with -o FILE.tar",
    ("containerd", "permission denied"): "containerd's socket belongs to root: run it with sudo",
    ("containerd", "failed to dial"): "start containerd, or write an archive with -o FILE.tar",
}


def load(engine: str, stage: LayoutStore) -> None:
    """Hand the image to an engine. Raises UsageError (`engine-unknown`), ToolError (`tool-missing`, `load-failed`)."""
    if engine not in _COMMANDS:
        raise UsageError(
            f"nothing is known about loading into {engine!r}",
            code="engine-unknown",
            hint=f"choose one of {', '.join(_COMMANDS)}",
        )
    program, words = _COMMANDS[engine]
    found = shutil.which(program)
    if found is None:
        raise ToolError(
            f"{program} is not installed here",
            code="tool-missing",
            hint="install it, or write an archive with -o FILE.tar",
        )
    with tempfile.TemporaryDirectory(prefix="ocibuild-", ignore_cleanup_errors=True) as folder:
        archive = Path(folder) / "image.tar"
        with archive.open("wb") as out:
            write_archive(stage, "oci-archive", out)
        _run(engine, [found, *words, str(archive)])


def _run(engine: str, command: list[str]) -> None:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_MINUTES * 60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{engine} could not load the image: {error}", code="load-failed") from error
    if result.returncode:
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()
        reason = said[-1] if said else f"exit status {result.returncode}"
        cure = next((hint for (name, word), hint in _CURES.items() if name == engine and word in reason), None)
        raise ToolError(f"{engine} refused the image: {reason}", code="load-failed", hint=cure)
