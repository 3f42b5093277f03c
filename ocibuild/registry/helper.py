"""Credential helpers: `docker-credential-NAME get`, the host on its input, JSON on its output.

The protocol is docker-credential-helpers'. A helper is a stranger's program: it has half a minute and 64 KiB.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LIMIT = 64 * 1024
_ABSENT = ("credentials not found", "no credentials server", "no credentials username")


def get(name: str, host: str, environ: Mapping[str, str], seconds: float = 30) -> tuple[str, str] | str | None:
    """User name and secret; None where the helper knows nothing; a sentence for people where it failed."""
    program = f"docker-credential-{name}"
    path = shutil.which(program, path=environ.get("PATH", os.defpath)) if _NAME.fullmatch(name) else None
    if path is None:
        return f"the credential helper {program[:80]!r} is not installed"
    try:
        status, output, expired = _run(path, host, environ, seconds)
    except OSError as error:
        return f"{program} cannot be run ({error.strerror})"
    if expired:
        return f"{program} gave no answer within {seconds:g} s"
    if status:
        text = output.decode(errors="replace").lower()
        return None if any(phrase in text for phrase in _ABSENT) else f"{program} failed with status {status}"
    return _read(output, program)


def _run(path: str, host: str, environ: Mapping[str, str], seconds: float) -> tuple[int, bytes, bool]:
    process = subprocess.Popen(
        [path, "get"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(environ),
        start_new_session=True,  # so that what it started can be ended with it
    )
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        _end(process)

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(host.encode())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it did not want to hear
        output = process.stdout.read(_LIMIT + 1)
        if len(output) > _LIMIT:
            _end(process)
        process.stdout.close()
        return process.wait(), output, expired.is_set()
    finally:
        timer.cancel()
        if process.poll() is None:
            _end(process)
            process.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except ProcessLookupError:
        pass


def _read(output: bytes, program: str) -> tuple[str, str] | str:
    try:
        document = json.loads(output)
        user, secret = document["Username"], document["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"{program} did not answer with a user name and a secret"
    if not isinstance(user, str) or not isinstance(secret, str):
        return f"{program} did not answer with a user name and a secret"
    return user, secret
