"""`ocibuild.run`: the exit status, and nothing heavy in this process."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import ocibuild
from ocibuild.content.flow import Cancel
from tests.run import programs
from tests.run.programs import assembled

ROOT = Path(__file__).parents[2]
HELLO = ROOT / "samples" / "hello.wasm"


def test_it_returns_the_exit_status(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    packed = ocibuild.pack(HELLO, output=f"oci:{tmp_path / 'a.oci'}", env={"GREETING": "hoi"})
    assert ocibuild.run(packed.references[0], ["x"]) == 0
    assert ocibuild.run(HELLO, ["--exit", "7"], env=["GREETING=hej"]) == 7
    assert capfd.readouterr() == ("hoi\nargument: x\nhej\n", "")


def test_run_is_the_verb_whatever_was_imported_before() -> None:
    source = "import ocibuild.run.launch, types; assert isinstance(ocibuild.run, types.FunctionType)"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


def test_the_engine_is_loaded_in_the_programs_process_alone() -> None:
    source = f"import ocibuild, sys; ocibuild.run({str(HELLO)!r}); assert 'wasmtime' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"Hello, Docker!\n"), done.stderr.decode()


def test_calling_off_the_session_ends_the_program(tmp_path: Path) -> None:
    endless = assembled(programs.ENDLESS, tmp_path / "a.wasm")
    cancel = Cancel()
    timer = threading.Timer(0.5, cancel.set)
    timer.start()
    with pytest.raises(ocibuild.Cancelled):
        ocibuild.run(endless, session=ocibuild.Session(cancel=cancel), timeout=60)
    timer.join()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_cannot_be_meant(timeout: float) -> None:
    with pytest.raises(ocibuild.UsageError):
        ocibuild.run(HELLO, timeout=timeout)
