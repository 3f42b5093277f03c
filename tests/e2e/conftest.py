"""Servers and engines started for one test session, on loopback ports the system gives, ended by their process id."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

START_SECONDS = 30


@dataclass(frozen=True)
class Running:
    """A registry that answers at `host`; `log` is what it prints."""

    host: str
    log: Path


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process by its id, kindly first."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


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
            if _answers(f"http://127.0.0.1:{port}/v2/", process):
                yield Running(f"127.0.0.1:{port}", log)
                return
        finally:
            stop(process)
    pytest.fail(f"docker-registry did not start: {log.read_text()[-2000:]}")


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    return False


Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command to its end and give its stdout; a failure shows what it said."""

    def command(*words: str, seconds: int = 120, cwd: Path | None = None) -> str:
        result = subprocess.run(
            words, capture_output=True, text=True, timeout=seconds, cwd=cwd or tmp_path, check=False, stdin=subprocess.DEVNULL
        )
        if result.returncode:
            pytest.fail(f"{' '.join(words)} failed ({result.returncode}):\n{result.stdout[-1500:]}\n{result.stderr[-3000:]}")
        return result.stdout

    return command
