"""Another program at work: its words are passed on as they come, and it has an end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ocibuild.content.flow import Cancel

_GRACE = 5.0
_LINES = 20
_WIDTH = 2000


@dataclass(frozen=True)
class Ended:
    """How it ended: `status` is its own, None where it was ended for taking too long; `said` are its last lines."""

    status: int | None
    said: tuple[str, ...]


def run(
    words: Sequence[str], environ: Mapping[str, str], seconds: float, cancel: Cancel, hear: Callable[[str], None]
) -> Ended:
    """Run it to its end with no input; `hear` gets every line of its stdout and stderr.

    Where it is called off or takes longer than `seconds`, it is ended together with what it started. Raises OSError
    where it cannot be started, Cancelled.
    """
    process = subprocess.Popen(
        words,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    last: deque[str] = deque(maxlen=_LINES)
    reader = threading.Thread(target=_follow, args=(process, last, hear), daemon=True)
    reader.start()
    try:
        with cancel.closing(lambda: _signal(process, signal.SIGTERM)):
            status: int | None = process.wait(seconds)
        reader.join(_GRACE)  # what it started may hold the pipe open for ever
    except subprocess.TimeoutExpired:
        status = None
    finally:
        _end(process)
        reader.join(_GRACE)
        if process.stdout is not None and not reader.is_alive():
            process.stdout.close()
    cancel.check()
    return Ended(status, tuple(last))


def _follow(process: subprocess.Popen[str], last: deque[str], hear: Callable[[str], None]) -> None:
    assert process.stdout is not None
    with suppress(ValueError, OSError):
        while line := process.stdout.readline(_WIDTH):
            if text := line.rstrip():
                last.append(text)
                hear(text)


def _signal(process: subprocess.Popen[str], number: int) -> None:
    """To the whole group, which outlives its leader where that left something behind."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        elif process.poll() is None:
            process.send_signal(number)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    _signal(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))  # the group, which may outlive its leader
    process.wait()
