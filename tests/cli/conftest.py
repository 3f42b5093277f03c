"""The command line, run in this process and seen from outside: exit status, stdout, stderr."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ocibuild.cli import main


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    status: int
    out: str
    err: str


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with the smallest module and component in it."""
    (tmp_path / "hello.wasm").write_bytes(b"\0asm\1\0\0\0")
    (tmp_path / "component.wasm").write_bytes(b"\0asm\x0d\0\1\0")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ran]]:
    """`run("pack", "hello.wasm")`."""
    before = signal.getsignal(signal.SIGTERM)

    def command(*words: str) -> Ran:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        assert isinstance(stop.value.code, int)
        return Ran(stop.value.code, *capfd.readouterr())

    yield command
    signal.signal(signal.SIGTERM, before)
