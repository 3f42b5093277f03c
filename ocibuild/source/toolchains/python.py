"""Python: a component made by componentize-py from a module and the WIT of its world.

https://github.com/bytecodealliance/componentize-py.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ocibuild.errors import InputError
from ocibuild.source.toolchains.bench import Bench
from ocibuild.source.toolchains.javascript import RUN, wit_of
from ocibuild.source.toolchains.recipe import Recipe, Sources, Step, Told, unbuildable
from ocibuild.spec.platform import Platform

NAME = "python"
TITLE = "Python"
_CURE = "pip install componentize-py"
_MODULES = ("app", "main", "src/app", "src/main")


def seen(folder: Path) -> str | None:
    """A module or a pyproject.toml beside the folder wit: without WIT there is no component."""
    if not (folder / "wit").is_dir():
        return None
    names = ("pyproject.toml", *(f"{module}.py" for module in _MODULES))
    return next((name for name in names if (folder / name).is_file()), None)


def recipes(sources: Sources, platforms: Sequence[Platform], bench: Bench) -> list[Recipe]:
    """One component for all platforms that ask for one. Raises ToolError, UsageError, InputError."""
    for platform in platforms:
        if platform not in (Platform("wasi", "wasm"), Platform("wasip2", "wasm")):
            raise unbuildable(
                "Python", platform, "it becomes a component of WASI 0.2: ask for wasi/wasm or wasip2/wasm"
            )
    path, module = _module(sources)
    wit = wit_of(sources.folder)
    program = bench.need("componentize-py", "the sources are Python's", _CURE)
    made = []
    for platform in platforms:
        product = bench.module(NAME, platform)
        words = [program, "--wit-path", str(wit), *sources.arguments, "componentize", module]
        words += ["--python-path", str(path), "--output", str(product)]
        made.append(Recipe(platform, _name(sources), (Step(tuple(words), sources.folder),), product, RUN))
    return made


def told(sources: Sources, platforms: Sequence[Platform], bench: Bench) -> Told:
    """Nothing: componentize-py takes packages from wherever its Python finds them."""
    return Told(doubt="componentize-py takes packages from wherever it finds them")


def _module(sources: Sources) -> tuple[Path, str]:
    """The folder that Python finds the program's module in, and the module."""
    folder = sources.folder
    if sources.program is not None:
        return folder, sources.program.removesuffix(".py").replace("/", ".")
    for name in _MODULES:
        if (folder / f"{name}.py").is_file():
            place, _, module = name.rpartition("/")
            return folder / place, module
    raise InputError(
        f"{folder} has no {_MODULES[0]}.py",
        code="sources-unknown",
        hint="name the module with --program",
    )


def _name(sources: Sources) -> str:
    """The project's name, or else the folder's."""
    path = sources.folder / "pyproject.toml"
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return sources.folder.name
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", code="sources-invalid") from error
    project = document.get("project")
    name = project.get("name") if isinstance(project, dict) else None
    return name if isinstance(name, str) and name else sources.folder.name
