"""A program's process is never lost: a signal that comes while it is being started is heard when it is known."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from ocibuild.content.flow import Cancel
from ocibuild.run import child
from ocibuild.run.engine import Start


@pytest.fixture
def born(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes that were started; each is interrupted before anybody here knows of it."""
    found: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*words: Any, **said: Any) -> subprocess.Popen[bytes]:
        process = real(*words, **said)
        found.append(process)
        signal.raise_signal(signal.SIGINT)
        return process

    monkeypatch.setattr(subprocess, "Popen", popen)
    yield found
    for process in found:
        process.kill()
        process.wait()


def test_ctrl_c_while_it_starts_ends_it(born: list[subprocess.Popen[bytes]]) -> None:
    with pytest.raises(KeyboardInterrupt):
        child.run(Start(("/bin/sleep", "60")), None, Cancel())
    (process,) = born
    assert process.returncode == -signal.SIGTERM


def test_an_ignored_signal_stays_ignored_for_the_program() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        ended = child.run(Start(("/bin/sh", "-c", "kill -HUP $$; exit 5")), 30, Cancel())
    finally:
        signal.signal(signal.SIGHUP, before)
    assert ended.status == 5


def test_a_group_is_ended_as_a_whole() -> None:
    read, write = os.pipe()
    out = os.dup(1)
    try:
        os.dup2(write, 1)  # the program inherits the standard streams, and so does what it starts
        ended = child.run(Start(("/bin/sh", "-c", "trap '' TERM; sleep 60 & wait; wait"), group=True), 0.5, Cancel())
    finally:
        os.dup2(out, 1)
        os.close(out)
        os.close(write)
    assert ended.reason == "timeout"
    assert os.read(read, 1) == b"", "a grandchild would still hold the other end"
    os.close(read)
