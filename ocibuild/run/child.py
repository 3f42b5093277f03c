"""A program's process: started with our stdin, stdout and stderr, waited for, and ended when it has to be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from ocibuild.content.flow import Cancel
from ocibuild.errors import InputError, ToolError
from ocibuild.run.engine import Start

TIMED_OUT = 124
"""What `timeout` of coreutils ends with."""
_GRACE = 2.0
_TIDYING = 30.0


@dataclass(frozen=True)
class Outcome:
    """How it ended: `status` is the program's own for `exit`, 134 for a `trap`, 124 for a `timeout`, 128 + N for signal N."""

    status: int
    reason: Literal["exit", "trap", "timeout", "signal"] = "exit"
    text: str = ""


def run(start: Start, timeout: float | None, cancel: Cancel) -> Outcome:
    """Start it and wait for its end. Whatever happens here, neither it nor what it started for us outlives this call.

    Raises InputError (`not-startable`), ToolError (`engine-failed`), Cancelled.
    """
    process: subprocess.Popen[bytes] | None = None
    pending: list[int] = []
    ended = False
    try:
        # Ctrl-C within Popen would leave a process that nobody knows.
        with _deferred(pending):
            process = _started(start)
        for number in pending:
            signal.raise_signal(number)
        with cancel.closing(process.kill):  # what it leaves is ended below
            code = process.wait(timeout)
        cancel.check()
        ended = code >= 0
    except subprocess.TimeoutExpired:
        return Outcome(TIMED_OUT, "timeout", f"it was ended after {timeout:g} seconds")
    finally:
        if not ended and process is not None:
            _end(start, process)
            for command in start.ending:
                silently(command)
    return _outcome(start, code)


def _started(start: Start) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            start.words,
            executable=start.executable,
            env=start.env,
            cwd=start.folder,
            start_new_session=start.group,
            stdin=subprocess.DEVNULL if start.group else None,
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"{start.words[0]} cannot be started: {getattr(error, 'strerror', None) or error}",
            code="not-startable",
            hint="a dynamic program needs its loader here; TMPDIR must be on a disk that programs may be started from",
        ) from error


@contextmanager
def _deferred(pending: list[int]) -> Iterator[None]:
    """While inside, signals that somebody here listens to are only noted; other threads than the main one hear none."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        # What is ignored stays so: the program inherits that.
        before = {number: handler for number in numbers if callable(handler := signal.getsignal(number))}
    try:
        for number in before:
            signal.signal(number, lambda number, frame: pending.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def silently(command: tuple[str, ...]) -> None:
    """Run another program, told nothing and heard by nobody, to its end or for half a minute.

    Ctrl-C does not reach it: what it tidies up would stay otherwise.
    """
    nothing = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
        process.wait(_TIDYING)
    except (OSError, subprocess.TimeoutExpired):
        pass


def _end(start: Start, process: subprocess.Popen[bytes]) -> None:
    _send(start, process, kill=False)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _send(start, process, kill=True)  # also where a second Ctrl-C came; nothing where it has ended
        process.wait()


def _send(start: Start, process: subprocess.Popen[bytes], *, kill: bool) -> None:
    if start.group and hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
    elif kill:
        process.kill()
    else:
        process.terminate()


def _outcome(start: Start, code: int) -> Outcome:
    if code < 0:
        return Outcome(128 - code, "signal", f"it was ended by signal {-code}")
    if start.outcome is None:
        return Outcome(code)
    try:
        reason, status, text = json.loads(start.outcome.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ToolError(
            "the embedded wasmtime ended without a word",
            code="engine-failed",
            hint="what it printed above says why; python -c 'import wasmtime' shows whether it loads",
        ) from error
    if reason == "refused":
        raise InputError(f"wasmtime does not start it: {text}", code="not-startable", hint=_REFUSED)
    return Outcome(status, reason, text)


_REFUSED = "it may need more memory than --memory allows, or interfaces that a command is not given"
