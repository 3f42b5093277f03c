"""The bench: where toolchains are found, asked, and run. Whatever is started here ends with the work it was for."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ocibuild.content.flow import Cancel
from ocibuild.errors import InputError, ToolError
from ocibuild.source.toolchains.recipe import Step
from ocibuild.spec.platform import Platform

_GRACE = 2.0
_MINUTES = 10
_LONGEST = 64 * 1024
_STEERING = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_OWN_GROUP = os.name == "posix"


@dataclass(frozen=True)
class Bench:
    """`environ` is what toolchains get to see of ours, `scratch` a private folder that goes away, `home` the person's."""

    environ: Mapping[str, str]
    home: Path
    scratch: Path
    cancel: Cancel

    def module(self, language: str, platform: Platform) -> Path:
        """Where a compiler writes the one file it makes for a platform of Wasm; its folder is there."""
        folder = self.scratch / language
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{platform.os}.wasm"

    def find(self, name: str) -> str | None:
        """The program of that name on PATH."""
        return shutil.which(name, path=self.environ.get("PATH", os.defpath))

    def need(self, name: str, what: str, cure: str) -> str:
        """The same, for one that has to be there. Raises ToolError (`toolchain-missing`)."""
        found = self.find(name)
        if found is None:
            raise missing(f"{name} is not on PATH, and {what}", cure)
        return found

    def ask(self, words: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> str:
        """What a toolchain answers on stdout.

        Raises InputError (`sources-invalid`) with its own words where it fails, ToolError (`toolchain-missing`).
        """
        process = self._start(words, folder, env or {}, subprocess.PIPE)
        try:
            with self.cancel.closing(lambda: _end(process)):
                out, err = process.communicate(timeout=60 * _MINUTES)
        except BaseException:
            _end(process)
            process.communicate()
            raise
        self.cancel.check()
        if process.returncode:
            said = " ".join(err.decode("utf-8", "replace").split())[-1000:]
            raise InputError(
                f"{_shown(words)} failed in {folder}: {said}",
                code="sources-invalid",
                hint="mend what it complains about; it is the toolchain itself that does not take these sources",
            )
        return out.decode("utf-8", "replace")

    def run(self, step: Step, tell: Callable[[str], None]) -> int:
        """Run a step and give its exit status; `tell` gets each line it prints. Raises ToolError, Cancelled."""
        process = self._start(step.words, step.folder, step.env, subprocess.STDOUT)
        assert process.stdout is not None
        reader = threading.Thread(target=_read, args=(process.stdout, tell), daemon=True)
        reader.start()
        try:
            with self.cancel.closing(lambda: _end(process)):
                status = process.wait()
        except BaseException:
            _end(process)
            process.wait()
            raise
        finally:
            # A server that the toolchain left behind (sccache) may hold the pipe open for ever.
            reader.join(_GRACE)
        self.cancel.check()
        return status

    def _start(
        self, words: Sequence[str], folder: Path, env: Mapping[str, str], errors: int
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                words,
                cwd=folder,
                env={**self.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=_OWN_GROUP,  # compilers have children: all of them are ended together
            )
        except OSError as error:
            raise missing(f"{words[0]} cannot be started: {error.strerror}", "install it, or mend PATH") from error


def missing(message: str, cure: str) -> ToolError:
    """The error for what has to be installed first."""
    return ToolError(message, code="toolchain-missing", hint=cure)


def _read(pipe: IO[bytes], tell: Callable[[str], None]) -> None:
    # A line without an end is cut; compilers do not print such, but programs they run may.
    with pipe:
        while line := pipe.readline(_LONGEST):
            # Colours and bars are for terminals; what they draw over is not shown.
            text = _STEERING.sub("", line.decode("utf-8", "replace")).rstrip().rpartition("\r")[2]
            if text:
                tell(text)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a toolchain with all its children; nothing where it has ended."""
    if process.poll() is not None:
        return
    _signal(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    if _OWN_GROUP:
        _signal(process, signal.SIGKILL)  # children that did not listen, too
    elif process.poll() is None:
        process.kill()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if _OWN_GROUP:
            os.killpg(process.pid, number)
        else:
            process.terminate()


def _shown(words: Sequence[str]) -> str:
    return " ".join([os.path.basename(words[0]), *words[1:2]])
