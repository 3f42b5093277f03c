"""The judge on published programs (scripts/readers), where its packages have been fetched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FETCHED = ROOT / ".cache" / "readers"


@pytest.mark.real
@pytest.mark.skipif(not FETCHED.is_dir(), reason="scripts/readers has not fetched the published programs")
def test_a_hundred_modules_and_fifty_programs_are_read_as_others_read_them(part):
    for name in ("wasm-objdump", "go"):
        part(name)
    judge = [sys.executable, ROOT / "tests" / "binary" / "judge", "--offline"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(judge, capture_output=True, text=True, timeout=900, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "0 differ" in done.stdout
