"""How a run of the command line ends: whoever waits for the end is called, and no output is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def ended(source: str, **how: object) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter in which a program of somebody's calls our command line."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import ocibuild.cli\n{source}"]
    said: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    return subprocess.run(command, text=True, timeout=60, check=False, **said)  # type: ignore[call-overload, no-any-return]


VERSION = "sys.argv[1:] = ['--version']; ocibuild.cli.main()"


def test_who_waits_for_the_end_is_called_once_and_in_order() -> None:
    waiting = "import atexit; [atexit.register(print, word) for word in ('last', 'first')]\n"
    done = ended(waiting + VERSION)
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, ["first", "last"])


def test_what_waits_in_a_buffer_is_written() -> None:
    done = ended("sys.stdout.write('before '); sys.stderr.write('beside')\n" + VERSION)
    assert done.stdout.startswith("before ocibuild ")
    assert done.stderr == "beside"


def test_threads_that_still_run_are_waited_for() -> None:
    thread = "import threading, time; threading.Thread(target=lambda: (time.sleep(0.3), print('late'))).start()\n"
    done = ended(thread + VERSION)
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, ["late"])


def test_a_status_other_than_0_is_kept() -> None:
    done = ended("sys.argv[1:] = ['pack', 'nowhere.wasm']; ocibuild.cli.main()")
    assert (done.returncode, done.stdout) == (1, "")
    assert "file-not-found" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_full_disk_behind_stdout_is_said_in_words() -> None:
    with open("/dev/full", "w") as full:
        done = ended(VERSION, stdout=full)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 2, done.stderr  # what, and what to do; nothing of Python's
    assert "no space left on the disk that the output is written to [disk-full]" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's way to close a stream")
@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_stream_that_was_closed_is_not_missed(closed: str) -> None:
    source = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import ocibuild.cli\n{VERSION}"
    words = ["sh", "-c", f'exec "$@" {closed}>&-', "sh", sys.executable, "-c", source]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ocibuild ") == (closed == "2")
