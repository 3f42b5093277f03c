"""Credential helpers: `docker-credential-NAME get|store|erase|list`, a question on its input, JSON on its output.

The protocol is docker-credential-helpers'. A helper is a stranger's program: it has half a minute and 64 KiB, and what
it says on its error output is not listened to. No shell is involved, and no secret is in an argument.
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
from contextlib import suppress
from typing import Any, Literal

from ocibuild.content.flow import Cancel
from ocibuild.errors import ToolError

Action = Literal["get", "store", "erase", "list"]
SECONDS = 30.0
TOKEN = "<token>"
"""The user name that says: the secret is an identity token."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LIMIT = 64 * 1024
_LIST_LIMIT = 1024 * 1024
_ABSENT = ("credentials not found", "no credentials server", "no credentials username")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def installed(name: str, environ: Mapping[str, str]) -> str | None:
    """The helper's path, None where there is no such program."""
    return shutil.which(program(name), path=environ.get("PATH", os.defpath)) if _NAME.fullmatch(name) else None


def program(name: str) -> str:
    """What the helper's program is called."""
    return f"docker-credential-{name[:60]}"


def get(
    name: str, server: str, environ: Mapping[str, str], seconds: float = SECONDS, cancel: Cancel | None = None
) -> tuple[str, str] | str | None:
    """User name and secret; None where the helper knows nothing; a sentence for people where it failed.

    Raises Cancelled, and ends the helper, when `cancel` is set meanwhile.
    """
    try:
        output = _asked(name, "get", server, environ, seconds, cancel=cancel)
    except ToolError as error:
        return error.message
    if output is None:
        return None
    document = _object(output)
    user, secret = document.get("Username"), document.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str):
        return f"{program(name)} did not answer with a user name and a secret"
    return (user, secret) if secret else None  # an empty secret is how some say that they know nothing


def store(
    name: str, server: str, username: str, secret: str, environ: Mapping[str, str], seconds: float = SECONDS
) -> None:
    """Have the helper keep a secret. Raises ToolError (`helper-missing`, `helper-failed`)."""
    question = json.dumps({"ServerURL": server, "Username": username, "Secret": secret})
    _asked(name, "store", question, environ, seconds, secret)


def erase(name: str, server: str, environ: Mapping[str, str], seconds: float = SECONDS) -> bool:
    """Have the helper forget; False where it says that it knew nothing. Raises ToolError as `store` does."""
    return _asked(name, "erase", server, environ, seconds) is not None


def listed(name: str, environ: Mapping[str, str], seconds: float = SECONDS) -> dict[str, str]:
    """User names by server. Raises ToolError as `store` does."""
    output = _asked(name, "list", "", environ, seconds)
    return {key: value for key, value in _object(output or b"{}").items() if isinstance(value, str)}


def _asked(
    name: str,
    action: Action,
    question: str,
    environ: Mapping[str, str],
    seconds: float,
    secret: str = "",
    cancel: Cancel | None = None,
) -> bytes | None:
    path = installed(name, environ)
    if path is None:
        raise ToolError(
            f"the credential helper {program(name)!r} is not installed",
            code="helper-missing",
            hint="install it, or take its name out of the file that asks for it",
        )
    limit = _LIST_LIMIT if action == "list" else _LIMIT
    try:
        status, output, expired = _run([path, action], question.encode(), environ, seconds, limit, cancel or Cancel())
    except OSError as error:
        raise _failed(f"{program(name)} cannot be run ({error.strerror})") from error
    if expired:
        raise _failed(f"{program(name)} gave no answer within {seconds:g} s")
    if not status:
        return output
    said = _CONTROL.sub(" ", output[:2000].decode(errors="replace")).strip()
    if any(phrase in said.lower() for phrase in _ABSENT):
        return None
    # What it says while it stores may repeat what it was told.
    said = "" if action == "get" or (secret and secret in said) else f": {said[:200]}" if said else ""
    raise _failed(f"{program(name)} failed with status {status}{said}")


def _failed(text: str) -> ToolError:
    return ToolError(text, code="helper-failed", hint="run the helper by hand to see what it lacks")


def _run(
    command: list[str], question: bytes, environ: Mapping[str, str], seconds: float, limit: int, cancel: Cancel
) -> tuple[int, bytes, bool]:
    cancel.check()
    process = subprocess.Popen(
        command,
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
        with cancel.closing(lambda: _end(process)):
            with suppress(BrokenPipeError):  # it did not want to hear
                process.stdin.write(question)
                process.stdin.close()
            output = process.stdout.read(limit + 1)
            if len(output) > limit:
                _end(process)
            status = process.wait()
        cancel.check()
        return status, output, expired.is_set()
    finally:
        timer.cancel()
        if process.poll() is None:
            _end(process)
            process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                if stream is not None:
                    stream.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except ProcessLookupError:
        pass


def _object(output: bytes) -> dict[str, Any]:
    try:
        document = json.loads(output)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
