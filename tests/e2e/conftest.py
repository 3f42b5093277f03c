"""Servers and engines started for one test session."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.servers import Run, Running, answers, free_port, stop


@pytest.fixture
def registry(part: Callable[[str], str], tmp_path: Path) -> Iterator[Running]:
    """Debian's docker-registry with an empty store."""
    program = part("docker-registry")
    for _ in range(3):  # another process may take the port between the probe and the start
        port = free_port()
        config = tmp_path / "registry.yml"
        config.write_text(
            "version: 0.1\nlog: {level: info}\nstorage:\n"
            f"  filesystem: {{rootdirectory: {tmp_path}/registry}}\n  delete: {{enabled: true}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n"
        )
        log = tmp_path / "registry.log"
        with log.open("wb") as stream:
            process = subprocess.Popen([program, "serve", str(config)], stdout=stream, stderr=stream)
        try:
            if answers(f"http://127.0.0.1:{port}/v2/", process):
                yield Running(f"127.0.0.1:{port}", log)
                return
        finally:
            stop(process)
    pytest.fail(f"docker-registry did not start: {log.read_text()[-2000:]}")


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
