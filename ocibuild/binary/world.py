"""What a Wasm file is for, told from its imports and exports: the level of WASI it speaks, and who is to start it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from ocibuild.binary.entity import Export, Import

Role = Literal["command", "reactor", "http", "proxy-wasm", "library"]

_WASI_CORE = {"cli", "clocks", "filesystem", "http", "io", "random", "sockets"}
_WASI_NAME = r"wasi:([a-z0-9-]+)/[a-z0-9-]+@([0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(?:[-+][0-9A-Za-z.+-]*)?)"


def wasi_level(imports: Sequence[Import], exports: Sequence[Export]) -> str:
    """`none`, `unstable`, `preview1`, or the newest version of WASI's interfaces that is named (`0.2.3`)."""
    names = {entry.module or entry.name for entry in imports} | {entry.name for entry in exports}
    interfaces = (name for name in names if name.startswith("wasi:"))
    found = [match.groups() for name in interfaces if (match := re.match(_WASI_NAME, name))]
    # The packages of WASI itself carry its version; proposals on their way (wasi:nn, wasi:keyvalue) have their own.
    versions = [version for package, version in found if package in _WASI_CORE] or [version for _, version in found]
    if versions:
        return max(versions, key=_version_order)
    if "wasi_snapshot_preview1" in names:
        return "preview1"
    return "unstable" if "wasi_unstable" in names else "none"


def _version_order(version: str) -> tuple[tuple[int, ...], bool, str]:
    # SemVer's order as far as WASI needs it: a pre-release comes before its release.
    release, _, rest = version.partition("-")
    numbers = tuple(int(part) for part in release.partition("+")[0].split("."))
    return numbers, not rest, rest


def module_role(exports: Sequence[Export]) -> Role:
    """Who starts a core module: told by the functions it exports."""
    names = {entry.name for entry in exports if entry.kind == "func"}
    # Proxy-Wasm first: its SDKs also export _start or _initialize, which its hosts call before anything else.
    if any(name.startswith("proxy_abi_version_") for name in names):
        return "proxy-wasm"
    if "_start" in names:
        return "command"
    return "reactor" if "_initialize" in names else "library"


def component_role(exports: Sequence[Export]) -> Role:
    """Who starts a component: told by the interfaces it exports, of whatever version."""
    names = {entry.name.partition("@")[0] for entry in exports}
    # HTTP first, as runwasi's wasmtime shim chooses.
    if names & {"wasi:http/incoming-handler", "wasi:http/handler"}:
        return "http"
    if "wasi:cli/run" in names:
        return "command"
    return "reactor" if any(entry.kind in ("func", "instance") for entry in exports) else "library"
