"""AssemblyScript: `asc`, with the project's own asconfig.json. https://www.assemblyscript.org/compiler.html.

A program of WASI's needs @assemblyscript/wasi-shim; where a project has it and does not extend its settings, they are given.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ocibuild.errors import InputError, UsageError
from ocibuild.source.toolchains import node
from ocibuild.source.toolchains.bench import Bench
from ocibuild.source.toolchains.node import Package
from ocibuild.source.toolchains.recipe import Recipe, Sources, Step, Told, unbuildable
from ocibuild.spec.platform import Platform

NAME = "assemblyscript"
TITLE = "AssemblyScript"
SHIM = "@assemblyscript/wasi-shim"
_TOOLS = {"asc": "assemblyscript"}
_ENTRY = "assembly/index.ts"
_CURE = f"npm install --save-dev {SHIM}, and let asconfig.json extend ./node_modules/{SHIM}/asconfig.json"


def seen(folder: Path) -> str | None:
    """asconfig.json, or a package.json that needs assemblyscript."""
    if (folder / "asconfig.json").is_file():
        return "asconfig.json"
    if not (folder / "package.json").is_file():
        return None
    return "package.json" if Package.read(folder).needs("assemblyscript") else None


def recipes(sources: Sources, platforms: Sequence[Platform], bench: Bench) -> list[Recipe]:
    """One `asc` a platform. Raises ToolError, UsageError, InputError."""
    for platform in platforms:
        if platform not in (Platform("wasi", "wasm"), Platform("wasip1", "wasm")):
            raise unbuildable("AssemblyScript", platform, "it makes modules of WASI preview 1: ask for wasi/wasm")
    package = Package.read(sources.folder)
    _, asc = node.tool(package, bench, _TOOLS)
    settings = _settings(sources.folder)
    words = [asc, *_entries(sources, settings), "--target", "release"]
    if (shim := _shim(package, settings)) is not None:
        words += ["--config", shim]
    if not settings.get("targets", {}).get("release"):
        words.append("--optimize")
    made = []
    for platform in platforms:
        product = bench.module(NAME, platform)
        step = Step((*words, *sources.arguments, "--outFile", str(product)), sources.folder)
        made.append(Recipe(platform, package.name, (step,), product, _CURE))
    return made


def told(sources: Sources, platforms: Sequence[Platform], bench: Bench) -> Told:
    """The folder with its node_modules. Raises as `recipes`."""
    return node.told(sources, Package.read(sources.folder), bench, _TOOLS)


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "asconfig.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}", code="sources-invalid") from error
    if not isinstance(document, dict) or not isinstance(document.get("targets", {}), dict):
        raise InputError(f"{path} is not what asc takes", code="sources-invalid")
    return document


def _entries(sources: Sources, settings: dict[str, Any]) -> list[str]:
    if sources.program is not None:
        if not (sources.folder / sources.program).is_file():
            raise UsageError(
                f"there is no file {sources.program} in {sources.folder}",
                code="program-unknown",
                hint=f"give the entry file, as in --program {_ENTRY}",
            )
        return [sources.program]
    if settings.get("entries"):
        return []
    for entry in (_ENTRY, "index.ts", "src/index.ts"):
        if (sources.folder / entry).is_file():
            return [entry]
    raise InputError(
        f"{sources.folder} has no {_ENTRY}",
        code="sources-unknown",
        hint="name the entry file with --program, or under entries in asconfig.json",
    )


def _shim(package: Package, settings: dict[str, Any]) -> str | None:
    """The shim's settings, where it is installed and the project's own do not go on from it.

    asc reads one file of settings, so what the project's own say besides would be lost: those have to extend it themselves.
    """
    if settings:
        return None
    found = node.installed(package, f"{SHIM}/asconfig.json")
    # asc takes the places in it for relative to the folder it runs in, so this one has to be relative too.
    return os.path.relpath(found, package.folder) if found is not None else None
