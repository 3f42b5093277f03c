"""A registry for each test, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.asking import Asker, answering


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Asker]:
    """An empty registry over tmp_path/registry."""
    with answering(tmp_path / "registry") as asker:
        yield asker
