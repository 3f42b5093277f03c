"""docs/engines.md says what the cells say, of what scripts/parts installs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e import enginetable

ROOT = Path(__file__).parents[2]


def test_the_page_is_the_table() -> None:
    page = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    assert page == enginetable.page(dict.fromkeys(enginetable.EXPECTED, True)), "scripts/engines writes it"


def test_a_cell_that_failed_or_did_not_run_is_no_success() -> None:
    cells = dict.fromkeys(enginetable.EXPECTED, True)
    cells["CRI, wasmtime shim", "wasm-layer"] = False
    assert enginetable.page(cells).count("FAILED") == 1
    del cells["ctr, runc", "native"]
    assert enginetable.page(cells).count("FAILED") == 2


@pytest.mark.parametrize("name", ["containerd", "runc", "dockerd", "youki"])
def test_the_page_names_the_version_that_is_installed(name: str) -> None:
    parts = (ROOT / "scripts" / "parts").read_text(encoding="utf-8")
    assert re.search(rf"{name}\S* (?:\S+ )?v?{re.escape(enginetable.VERSIONS[name])}\b", parts)
