"""docs/testing.md does what it says: its files are a test suite of somebody else's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from ocibuild.testing import Registry
from ocibuild.testing.faults import Fault
from tests.test_docs import ROOT, blocks

PAGE = ROOT / "docs" / "testing.md"


def test_the_examples_are_a_suite_that_passes(tmp_path: Path) -> None:
    files = {block.note: block.text for block in blocks(PAGE) if block.kind == "python"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_the_page_names_what_there_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    public = {name for name in vars(Registry) if not name.startswith("_")}
    assert [name for name in sorted(public) if f"{name}(" not in text and f"`{name}`" not in text] == []
    assert {name for name in vars(Fault) if name in ("lift", "met")} <= set(re.findall(r"\w+", text))
