"""Toolchains that only pretend, on a PATH of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.source.toolchains.fakes import Fakes


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """No toolchain yet; the current folder is an empty one."""
    monkeypatch.chdir(tmp_path)
    found = Fakes(tmp_path / "fakes")
    found.bin.mkdir(parents=True)
    return found
