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
_INSTEAD = "or write an archive with -o FILE.tar"
_CURES = {
    ("docker", "permission denied"): "Docker's socket belongs to the group docker: join it, or use sudo",
    ("docker", "daemon"): f"start the Docker daemon, or say with DOCKER_HOST where it is, {_INSTEAD}",
    ("docker", "error during connect"): f"DOCKER_HOST says where the Docker daemon is: correct it, {_INSTEAD}",
    (
        "docker",
        "operating system",
    ): "Docker's classic store refuses wasi images: turn on the containerd image store, or use --load containerd",
    ("podman", "invalid tar header"): "podman keeps layers that are tars only: pack it with --format image",
    ("podman", "unsupported image-specific operation"): "podman keeps no artifacts here: pack it with --format image",
    ("containerd", "permission denied"): "containerd's socket belongs to root: run it with sudo",
    ("containerd", "failed to dial"): f"start containerd, or say with CONTAINERD_ADDRESS where it is, {_INSTEAD}",
    ("containerd", "cannot access socket"): f"start containerd, or say with CONTAINERD_ADDRESS where it is, {_INSTEAD}",
}
"""What to do when an engine says this; the first that fits."""
_ARCHIVE = " * oci-archive: "


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
        said = result.stderr.strip() or result.stdout.strip()
        cure = next((hint for (name, word), hint in _CURES.items() if name == engine and word in said), None)
        reason = _reason(said) or f"exit status {result.returncode}"
        raise ToolError(f"{engine} refused the image: {reason}", code="load-failed", hint=cure)


def _reason(said: str) -> str:
    """The line that says why: podman tries every kind of archive and says of each why it is none; ours is the first."""
    lines = said.splitlines()
    tried = next((line for line in lines if line.startswith(_ARCHIVE)), "")
    return tried.removeprefix(_ARCHIVE) or (lines[-1] if lines else "")
