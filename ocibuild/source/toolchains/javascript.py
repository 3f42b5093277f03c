"""JavaScript: a component made by jco or componentize-js from a module and the WIT of its world.

https://bytecodealliance.github.io/jco, https://github.com/bytecodealliance/ComponentizeJS.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ocibuild.errors import InputError, UsageError
from ocibuild.source.toolchains import node
from ocibuild.source.toolchains.bench import Bench
from ocibuild.source.toolchains.node import Package
from ocibuild.source.toolchains.recipe import Recipe, Sources, Step, Told, unbuildable
from ocibuild.spec.platform import Platform

NAME = "javascript"
TITLE = "JavaScript"
_JCO, _COMPONENTIZE = "@bytecodealliance/jco", "@bytecodealliance/componentize-js"
_TOOLS = {"componentize-js": _COMPONENTIZE, "jco": _JCO}
RUN = "its world has to export wasi:cli/run, or wasi:http/incoming-handler for a service"
_ENTRIES = ("app.js", "index.js", "main.js", "src/app.js", "src/index.js", "src/main.js", "app.mjs", "index.mjs")


def seen(folder: Path) -> str | None:
    """A package.json that needs jco or componentize-js, or has WIT beside it: by itself it may belong to anything."""
    if not (folder / "package.json").is_file():
        return None
    package = Package.read(folder)
    if package.needs("assemblyscript"):
        return None
    return "package.json" if package.needs(_JCO, _COMPONENTIZE) or (folder / "wit").is_dir() else None


def recipes(sources: Sources, platforms: Sequence[Platform], bench: Bench) -> list[Recipe]:
    """One component for all platforms that ask for one. Raises ToolError, UsageError, InputError."""
    for platform in platforms:
        if platform not in (Platform("wasi", "wasm"), Platform("wasip2", "wasm")):
            raise unbuildable(
                "JavaScript", platform, "it becomes a component of WASI 0.2: ask for wasi/wasm or wasip2/wasm"
            )
    package = Package.read(sources.folder)
    entry, wit = _entry(sources, package), wit_of(sources.folder)
    name, program = node.tool(package, bench, _TOOLS)
    words = [program, *(["componentize"] if name == "jco" else []), str(entry), "--wit", str(wit)]
    if name == "jco" and package.table("dependencies"):
        words.append("--bundle")
    made = []
    for platform in platforms:
        product = bench.module(NAME, platform)
        step = Step((*words, *sources.arguments, "--out", str(product)), sources.folder)
        made.append(Recipe(platform, package.name, (step,), product, RUN))
    return made


def told(sources: Sources, platforms: Sequence[Platform], bench: Bench) -> Told:
    """The folder with its node_modules. Raises as `recipes`."""
    return node.told(sources, Package.read(sources.folder), bench, _TOOLS)


def wit_of(folder: Path) -> Path:
    """The WIT of a component's world: the folder wit, or the only .wit file. Raises InputError (`sources-unknown`)."""
    if (folder / "wit").is_dir():
        return folder / "wit"
    files = sorted(folder.glob("*.wit"))
    if len(files) == 1:
        return files[0]
    raise InputError(
        f"{folder} has no folder wit with the world of the component",
        code="sources-unknown",
        hint="a program's world exports wasi:cli/run; the samples and https://component-model.bytecodealliance.org show one",
    )


def _entry(sources: Sources, package: Package) -> Path:
    folder = sources.folder
    said = sources.program or package.text("main") or package.text("module")
    if said:
        if (folder / said).is_file():
            return folder / said
        built = "npm run build first, which may write it" if package.table("scripts").get("build") else "mend its name"
        if sources.program:
            raise UsageError(f"there is no file {said} in {folder}", code="program-unknown", hint=built)
        raise InputError(f"package.json names {said}, which is not there", code="sources-invalid", hint=built)
    found = next((folder / name for name in _ENTRIES if (folder / name).is_file()), None)
    if found is None:
        raise InputError(
            f"{folder} has no module to begin with",
            code="sources-unknown",
            hint="name it with --program FILE, or as main in package.json",
        )
    return found
