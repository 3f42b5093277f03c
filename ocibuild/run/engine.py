"""Who runs it: this machine itself, wasmtime embedded in Python, or a `wasmtime` on PATH.

Asked in that order, and told in one error where nobody can. https://docs.wasmtime.dev/cli-options.html.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ocibuild.binary.artifact import Artifact
from ocibuild.binary.elf import ElfFacts
from ocibuild.binary.wasm import WasmFacts
from ocibuild.errors import InputError, ToolError, UsageError
from ocibuild.run.command import Command
from ocibuild.run.launch import Folder, Launch
from ocibuild.spec.config import DEFAULT_PATH
from ocibuild.spec.platform import Platform

_EMBEDDED_SINCE = 50
"""The first version of PyPI's wasmtime that this was tried with; components of WASI 0.2 run in it."""
_PROGRAM = "put a wasmtime program on PATH (https://wasmtime.dev)"
_CURES = f"pip install 'ocibuild[run]', or {_PROGRAM}"
_WHAT = {
    "http": "an HTTP component: it answers requests, and is not started as a command",
    "reactor": "a reactor: others call into it, and nothing starts it",
    "proxy-wasm": "a plugin for proxies: Envoy or Istio starts it",
    "library": "a library: it exports nothing that could be started",
}


@dataclass(frozen=True)
class Start:
    """A process to start: `words` with `executable` where the first of them is not it; `env` None inherits ours.

    `outcome` is the file in which the embedded engine says how the program ended, None elsewhere. `ending` are commands
    for what outlives the process where it is ended before its time; a `group` is a session of its own, ended as a whole.
    """

    words: tuple[str, ...]
    executable: str | None = None
    env: Mapping[str, str] | None = None
    folder: str | None = None
    outcome: Path | None = None
    ending: tuple[tuple[str, ...], ...] = ()
    group: bool = False


def host() -> Platform:
    """The platform whose programs this machine runs."""
    return Platform.parse(f"{sys.platform}/{platform.machine() or 'unknown'}")


def native(artifact: Artifact, command: Command, launch: Launch, path: Path, root: Path | None) -> Start:
    """A native program, which runs with the rights of who starts it, in no sandbox.

    Raises InputError (`platform-foreign`), UsageError (`sandbox-wasm-only`).
    """
    assert isinstance(artifact.facts, ElfFacts)
    there, here = artifact.facts.platform, host()
    if (there.os, there.architecture) != (here.os, here.architecture):
        raise InputError(
            f"{artifact.name} is a program for {there}, and this machine is {here}",
            code="platform-foreign",
            hint="choose another entry with --platform, build it as Wasm, or give the image to an engine with emulation",
        )
    if launch.folders or launch.memory is not None:
        flag = "--dir or --mount" if launch.folders else "--memory"
        raise UsageError(
            f"{flag} is for Wasm programs, and {artifact.name} is a native one: it runs in no sandbox",
            code="sandbox-wasm-only",
            hint=f"leave {flag} out: the program sees this machine's files as they are",
        )
    folder = command.workdir or None
    if root is not None:
        folder = str(_inside(root, command.workdir))
    # docker gives every container a PATH; nothing else of this machine's environment is handed on.
    return Start(command.words, str(path), {"PATH": DEFAULT_PATH, **command.env}, folder)


def _inside(root: Path, workdir: str) -> Path:
    folder = (root / workdir.strip("/")).resolve()
    inside = folder.is_dir() and folder.is_relative_to(root.resolve())
    return folder if inside else root


def wasm(
    artifact: Artifact,
    command: Command,
    launch: Launch,
    path: Path,
    root: Path | None,
    search: str,
) -> Start:
    """A Wasm program in its sandbox; `search` is the PATH to find a wasmtime on.

    Raises InputError (`not-a-command`, `net-unsupported`), ToolError (`engine-missing`), UsageError (`dir-read-only`,
    `mount-invalid`).
    """
    assert isinstance(artifact.facts, WasmFacts)
    facts = artifact.facts
    words = list(command.words)
    words[0], _, function = words[0].partition("#")  # runwasi's way to name another function than _start
    refuse_others(artifact.name, facts, function)
    if launch.net and facts.kind == "module":
        raise InputError(
            f"{artifact.name} is a module of WASI {facts.wasi}, which has no calls to open a connection",
            code="net-unsupported",
            hint="build it as a component of WASI 0.2 (Rust: --target wasm32-wasip2), or leave --net out",
        )
    folders = folders_of(command, launch, path, root)
    env = variables(command)
    # 0.3 is not in the embedded engine's C interface yet, nor is the switch for sockets: it inherits a network without TCP.
    beyond = launch.net or (facts.kind == "component" and facts.wasi.startswith("0.3"))
    if _embedded() and not beyond:
        return _guest(facts, words, env, folders, launch, path, function)
    program = shutil.which("wasmtime", path=search)
    if program is None:
        raise ToolError(
            f"nothing here runs {artifact.name}, a Wasm {facts.kind} of WASI {facts.wasi}{' with --net' * launch.net}",
            code="engine-missing",
            hint=_CURES
            if not beyond
            else f"{_PROGRAM}: the embedded one {'opens no sockets' if launch.net else 'has no 0.3'}",
        )
    line = [program, "run", "--argv0", words[0], *wasmtime_flags(command, launch, folders, root)]
    if launch.net:
        line += ["-S", "inherit-network,allow-ip-name-lookup,tcp,udp,http"]
    elif _asks(facts):
        line += ["-W", "unknown-imports-trap"]
    if function:
        line += ["--invoke", function]
    return Start((*line, str(path), *words[1:]))


def folders_of(command: Command, launch: Launch, path: Path, root: Path | None) -> list[Folder]:
    """What it sees: the image's files as `/` and what was asked for. Raises UsageError (`mount-invalid`)."""
    folders = [_present(folder, path.parent) for folder in launch.folders]
    if root is not None and not any(folder.guest == "/" for folder in folders):
        folders.insert(0, Folder(str(root), "/", read_only=True))
    return folders


def variables(command: Command) -> dict[str, str]:
    """Its variables. WASI has no working directory; PWD is what Go's programs take for one."""
    env = dict(command.env)
    if command.workdir not in ("", "/"):
        env.setdefault("PWD", command.workdir)
    return env


def _present(folder: Folder, private: Path) -> Folder:
    """The folder; one of the program's own is made. Raises UsageError (`mount-invalid`) for a file."""
    if not folder.host:
        own = private / "tmpfs" / folder.guest.strip("/")
        own.mkdir(parents=True)
        return replace(folder, host=str(own))
    if not os.path.isdir(folder.host):
        raise UsageError(
            f"{folder.host} is a file, and WASI shows folders only",
            code="mount-invalid",
            hint=f"mount the folder it is in: --mount type=bind,source={os.path.dirname(folder.host) or '.'},target=…",
        )
    return folder


def _asks(facts: WasmFacts) -> bool:
    """True where it imports a way to send HTTP requests."""
    return any(entry.name.startswith("wasi:http/") for entry in facts.imports)


def refuse_others(name: str, facts: WasmFacts, function: str = "") -> None:
    """Raises InputError (`not-a-command`) for what is not started as a command."""
    if facts.role != "command" and not (function and facts.kind == "module"):
        what = "WIT, interfaces to build against" if facts.is_wit_package else _WHAT[facts.role]
        raise InputError(
            f"{name} is {what}",
            code="not-a-command",
            hint="a command exports _start, or wasi:cli/run; ocibuild inspect shows what this one exports",
        )


def _embedded() -> bool:
    """True where PyPI's wasmtime is there and new enough; it is not loaded for that."""
    if importlib.util.find_spec("wasmtime") is None:
        return False
    from importlib.metadata import PackageNotFoundError, version

    try:
        major = version("wasmtime").partition(".")[0]
    except PackageNotFoundError:
        return False
    return major.isdigit() and int(major) >= _EMBEDDED_SINCE


def _guest(
    facts: WasmFacts,
    words: list[str],
    env: dict[str, str],
    folders: list[Folder],
    launch: Launch,
    path: Path,
    function: str,
) -> Start:
    run = [name for entry in facts.exports if (name := entry.name).partition("@")[0] == "wasi:cli/run"]
    outcome, job = path.with_name("outcome.json"), path.with_name("job.json")
    document = {
        "parent": os.getpid(),
        "path": sys.path,
        "program": str(path),
        "component": facts.kind == "component",
        "start": run[0] if facts.kind == "component" else function or "_start",
        "words": words,
        "env": list(env.items()),
        "folders": [[folder.host, folder.guest, folder.read_only] for folder in folders],
        "memory": launch.memory,
        "asks": _asks(facts),
        "outcome": str(outcome),
    }
    job.write_text(json.dumps(document), encoding="utf-8")
    guest = str(Path(__file__).with_name("guest.py"))
    return Start((sys.executable, "-P", guest, str(job)), outcome=outcome)


def wasmtime_flags(command: Command, launch: Launch, folders: list[Folder], root: Path | None) -> list[str]:
    """The wasmtime program's flags for folders, variables and memory. Raises UsageError (`dir-read-only`)."""
    line = []
    for folder in folders:
        # The image's files are a copy of ours that is thrown away; the person's are not.
        if folder.read_only and folder.host != str(root):
            raise UsageError(
                f"the wasmtime on PATH cannot show {folder.host} for reading only",
                code="dir-read-only",
                hint="pip install 'ocibuild[run]', which can, or leave :ro out",
            )
        line.append(f"--dir={folder.host}::{folder.guest}")
    line += [f"--env={key}={value}" for key, value in variables(command).items()]
    return line if launch.memory is None else [*line, "-W", f"max-memory-size={launch.memory}"]
