"""An HTTP component is served: by `wasmtime serve`, or by `jco serve` where that is what is installed.

Both say on stderr where they listen. https://docs.wasmtime.dev/cli-options.html, https://bytecodealliance.github.io/jco/.
"""

from __future__ import annotations

import ipaddress
import re
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from ocibuild.binary.artifact import Artifact
from ocibuild.errors import InputError, ToolError, UsageError
from ocibuild.run.command import Command
from ocibuild.run.engine import Start, folders_of, wasmtime_flags
from ocibuild.run.launch import Launch

ADDRESS = "127.0.0.1:8080"
"""Where it listens unless told otherwise: this machine alone reaches it."""
_CURES = "put wasmtime (https://wasmtime.dev) or jco (npm install -g @bytecodealliance/jco) on PATH"


def serve(
    artifact: Artifact,
    command: Command,
    launch: Launch,
    path: Path,
    root: Path | None,
    environ: Mapping[str, str],
) -> tuple[Start, str, bool]:
    """The server to start, what to say of it, and whether that is a warning: jco is no sandbox.

    Raises UsageError (`listen-invalid`, `usage`, `dir-read-only`, `sandbox-wasm-only`), ToolError (`engine-missing`).
    """
    host, port = address(ADDRESS if launch.listen is None else launch.listen)
    if launch.arguments:
        raise UsageError(
            f"{artifact.name} is an HTTP component, which takes no arguments", hint="leave out what follows --"
        )
    search = environ.get("PATH", "")
    program = shutil.which("wasmtime", path=search)
    if program is not None:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        flags = wasmtime_flags(command, launch, folders_of(command, launch, path, root), root)
        # Without cli it has neither variables nor files.
        powers = "cli,inherit-network,allow-ip-name-lookup,tcp,udp" if launch.net else "cli"
        line = [program, "serve", f"--addr={where}", "-S", powers, *flags, str(path)]
        return Start(tuple(line), group=True), f"{artifact.name} is an HTTP component: wasmtime serves it", False
    program = shutil.which("jco", path=search)
    if program is None:
        raise ToolError(
            f"{artifact.name} is an HTTP component, and nothing here serves one", code="engine-missing", hint=_CURES
        )
    if launch.folders or launch.memory is not None:
        flag = "--dir or --mount" if launch.folders else "--memory"
        raise UsageError(
            f"{flag} is not to be had with jco, which gives a component all of this machine's files",
            code="sandbox-wasm-only",
            hint="put wasmtime on PATH (https://wasmtime.dev)",
        )
    # jco never tells the port that it was given for 0.
    line = [program, "serve", "--host", host, "--port", str(port or _free(host)), str(path)]
    env = {"PATH": search, **command.env}
    said = f"{artifact.name} is an HTTP component: jco serves it, in no sandbox, with this machine's files in its reach"
    return Start(tuple(line), env=env, group=True), said, True


def address(text: str) -> tuple[str, int]:
    """`127.0.0.1:8080`, `localhost:0`, `[::1]:80` or `:8080` as an IP address and a port. Raises UsageError (`listen-invalid`)."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+|localhost)?):([0-9]{1,5})", text)
    host = (match[1] or match[2] or "0.0.0.0").replace("localhost", "127.0.0.1") if match else ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        match = None
    if match is None or int(match[3]) > 65535:
        raise UsageError(
            f"--listen {text!r} is no address to listen at",
            code="listen-invalid",
            hint="write IP:PORT, as in 127.0.0.1:8080",
        )
    return host, int(match[3])


def refuse_listening(artifact: Artifact) -> None:
    """Raises UsageError (`listen-invalid`): it is no HTTP component."""
    raise UsageError(
        f"{artifact.name} is no HTTP component: it does not listen for us",
        code="listen-invalid",
        hint="leave --listen out; ocibuild inspect shows what the program is",
    )


def _free(host: str) -> int:
    """A port that was free a moment ago. Raises InputError (`not-startable`) for an address that is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise InputError(f"there is no listening at {host}: {error.strerror}", code="not-startable") from error
