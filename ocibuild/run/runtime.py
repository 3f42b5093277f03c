"""What starts a Wasm program in an engine: a runwasi shim, or an OCI runtime that knows Wasm.

Shims (https://github.com/containerd/runwasi) are named io.containerd.NAME.v1 and found on PATH as
containerd-shim-NAME-v1. crun and youki want the annotation run.oci.handler=wasm, and start core modules alone; crun under
the name crun-wasm takes no such annotation. https://github.com/containers/crun/blob/main/crun.1.md.
"""

from __future__ import annotations

import json
import posixpath
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from ocibuild.errors import ToolError, UsageError

Engine = Literal["containerd", "podman", "docker"]
PROGRAMS: dict[Engine, str] = {"containerd": "ctr", "podman": "podman", "docker": "docker"}
_SECONDS = 20
_SHIMS = ("wasmtime", "wasmedge", "wasmer", "wamr")
_OTHER_SHIMS = ("spin", "slight", "lunatic", "wws")
"""Named with --runtime, and never chosen: each of these starts one framework's applications."""
_COMPONENTS = "wasmtime"
"""The shim that starts components; the others call a module's function."""
_ANNOTATION = "run.oci.handler=wasm"
_INSTALLS = {
    "containerd": "apt-get install containerd (or your system's package), and run it as root",
    "podman": "apt-get install podman, dnf install podman, or brew install podman",
    "docker": "https://docs.docker.com/engine/install/",
}
_CURES = {
    "containerd": "put containerd-shim-wasmtime-v1 (of containerd/runwasi) or youki on PATH, or name one with --runtime",
    "podman": "install crun-wasm (dnf) or a crun that was built with Wasm, or name a runtime with --runtime",
    "docker": 'add one to daemon.json, as in {"runtimes": {"youki": {"path": "/usr/local/bin/youki"}}}, or name a shim '
    "with --runtime io.containerd.wasmtime.v1",
}


@dataclass(frozen=True)
class Runtime:
    """The engine's flags for it; whether it is a shim, and reads raw layers as well as files."""

    flags: tuple[str, ...] = ()
    shim: bool = False
    raw: bool = False


def engine(name: str, search: str) -> tuple[Engine, str]:
    """The engine of that name, and its client on the PATH `search`.

    Raises UsageError (`engine-unknown`), ToolError (`engine-missing`).
    """
    for known in get_args(Engine):
        if name == known:
            found = shutil.which(PROGRAMS[known], path=search)
            if found is None:
                raise ToolError(
                    f"{PROGRAMS[known]}, which speaks to {known}, is not on PATH here",
                    code="engine-missing",
                    hint=f"install it: {_INSTALLS[known]}; without --engine the program runs here",
                )
            return known, found
    raise UsageError(
        f"there is no engine {name!r} to run it",
        code="engine-unknown",
        hint=f"choose one of {', '.join(get_args(Engine))}",
    )


def named(engine: Engine, name: str, *, wasm: bool, path: str = "") -> Runtime:
    """The runtime of that name: a shim (`wasmtime`, `io.containerd.wasmtime.v1`, a path to one), or an OCI runtime
    (`youki`, `crun`, a path to one). `path` is the program behind the name where that is known.
    """
    if name in (*_SHIMS, *_OTHER_SHIMS) and engine != "podman":
        name = f"io.containerd.{name}.v1"
    base = posixpath.basename(path or name)
    if name.startswith("io.containerd.") or base.startswith(("io.containerd.", "containerd-shim-")):
        return Runtime(("--runtime", name), shim=True, raw=wasm and engine == "containerd")
    flags = ("--runc-binary" if engine == "containerd" else "--runtime", name)
    return Runtime(flags if not wasm or base == "crun-wasm" else (*flags, "--annotation", _ANNOTATION))


def discovered(engine: Engine, client: str, search: str, *, component: bool) -> Runtime:
    """What is here to start a Wasm program of that kind. Raises ToolError (`runtime-missing`, `engine-unreachable`)."""
    passed: list[str] = []
    for name, path, components in _CANDIDATES[engine](client, search):
        base = posixpath.basename(path)
        if component and not components:
            passed.append(f"{base} starts core modules only")
        elif base == "crun" and not _knows_wasm(path):
            passed.append(f"{path} was built without Wasm")
        else:
            return named(engine, name, wasm=True, path=path)
    what = "components" if component else "Wasm"
    reasons = f" ({', '.join(dict.fromkeys(passed))})" if passed else ""
    raise ToolError(
        f"nothing was found that starts {what} in {engine}{reasons}", code="runtime-missing", hint=_CURES[engine]
    )


_Candidates = Iterator[tuple[str, str, bool]]
"""The runtime's name, the program behind it, and whether it starts components; the best first."""


def _of_containerd(client: str, search: str) -> _Candidates:
    yield from _shims(search)
    yield from _oci(search, "youki", "crun-wasm", "crun")


def _of_podman(client: str, search: str) -> _Candidates:
    yield from _oci(search, "crun-wasm", "crun", "youki")


def _of_docker(client: str, search: str) -> _Candidates:
    """What the daemon was told of; then shims, which it finds by itself where they stand on its PATH."""
    told = _runtimes(client)
    for shim in _SHIMS:
        full = f"io.containerd.{shim}.v1"
        yield from ((name, path, shim == _COMPONENTS) for name, path in told.items() if full in (name, path))
    yield from _shims(search)
    for known in ("youki", "crun-wasm", "crun"):
        yield from ((name, path, False) for name, path in told.items() if known == posixpath.basename(path or name))


_CANDIDATES: dict[Engine, Callable[[str, str], _Candidates]] = {
    "containerd": _of_containerd,
    "podman": _of_podman,
    "docker": _of_docker,
}


def _runtimes(client: str) -> dict[str, str]:
    """docker's configured runtimes: name to path, or to the type of shim. Raises ToolError (`engine-unreachable`)."""
    said = _asked(client, "info", "--format", "{{json .Runtimes}}")
    try:
        found = json.loads(said.stdout)
    except ValueError:
        found = None
    if said.returncode or not isinstance(found, dict):
        reason = (said.stderr.strip() or "it gave no list of runtimes").splitlines()[-1]
        raise ToolError(
            f"docker does not answer: {reason}",
            code="engine-unreachable",
            hint="start the Docker daemon, or say where it is with DOCKER_HOST",
        )
    told = {name: value if isinstance(value, dict) else {} for name, value in found.items()}
    return {name: str(value.get("path") or value.get("runtimeType") or "") for name, value in told.items()}


def _shims(search: str) -> _Candidates:
    for shim in _SHIMS:
        found = shutil.which(f"containerd-shim-{shim}-v1", path=search)
        if found is not None:
            yield f"io.containerd.{shim}.v1", found, shim == _COMPONENTS


def _oci(search: str, *names: str) -> _Candidates:
    for name in names:
        found = shutil.which(name, path=search)
        if found is not None:
            yield found, found, False


def _knows_wasm(path: str) -> bool:
    """True where crun names a Wasm engine among what it was built with: `+WASM:wasmtime`."""
    try:
        return re.search(r"\+WASM:\w", _asked(path, "--version").stdout) is not None
    except ToolError:
        return False


def _asked(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(
            f"{words[0]} does not answer: {error}", code="engine-unreachable", hint="see whether it works by hand"
        ) from error
