"""Recipes become programs: side by side, each looked at before it may go on."""

from __future__ import annotations

import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from pathlib import Path

from ocibuild.binary.artifact import Artifact, inspect
from ocibuild.binary.elf import ElfFacts
from ocibuild.binary.wasm import WasmFacts
from ocibuild.content import atomic
from ocibuild.content.flow import Event, Flow
from ocibuild.errors import InputError, ToolError
from ocibuild.source.toolchains.bench import Bench
from ocibuild.source.toolchains.recipe import Recipe, Sources, one_of
from ocibuild.spec.platform import Platform

_LAST = 40
_UNUSUAL = re.compile(r"[^\w.+-]+")


def make(recipes: Sequence[Recipe], sources: Sources, bench: Bench, flow: Flow, *, dynamic: bool) -> list[Artifact]:
    """The programs, in the recipes' order, as files in the bench's scratch folder.

    What toolchains print becomes events, under the platform's name where several are built. The first failure calls the
    rest off. Raises ToolError (`build-failed`, `build-mismatch`), InputError (`not-static` unless `dynamic`,
    `not-a-command`, and what looking at a program raises), UsageError (`program-needed`, `program-unknown`), Cancelled.
    """
    several = len(recipes) > 1

    def made(recipe: Recipe) -> Artifact:
        path = _make(recipe, sources, bench, _teller(flow, recipe, several))
        return checked(path, recipe, dynamic=dynamic)

    futures = [flow.cpu.submit(made, recipe) for recipe in recipes]
    wait(futures, return_when=FIRST_EXCEPTION)
    problems = [problem for future in futures if future.done() and (problem := future.exception()) is not None]
    if problems:
        flow.cancel.set()
        raise problems[0]
    return [future.result() for future in futures]


def _teller(flow: Flow, recipe: Recipe, several: bool) -> Callable[[str], None]:
    prefix = f"{recipe.platform} | " if several else ""
    return lambda line: flow.observe(Event("output", text=prefix + line))


def _make(recipe: Recipe, sources: Sources, bench: Bench, tell: Callable[[str], None]) -> Path:
    last: deque[str] = deque(maxlen=_LAST)

    def told(line: str) -> None:
        last.append(line)
        tell(line)

    for step in recipe.steps:
        status = bench.run(step, told)
        if status:
            command = os.path.basename(step.words[0])
            how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
            error = ToolError(
                f"{command} {how} when it built {recipe.name or sources.folder.name} for {recipe.platform}",
                code="build-failed",
                hint="what it printed says why",
            )
            error.add_note("\n".join(last))
            raise error
    return _kept(recipe, sources, bench)


def _kept(recipe: Recipe, sources: Sources, bench: Bench) -> Path:
    """The product in our own folder, where no later build writes over it."""
    product = recipe.product
    if product.is_dir():
        found = {
            path.name.removesuffix(".wasm"): path.name for path in sorted(product.iterdir()) if _program(path, recipe)
        }
        product /= found[one_of(found, sources.program, "program", f"what {sources.folder} builds")]
    if not product.is_file():
        raise ToolError(
            f"the build of {recipe.name or sources.folder.name} for {recipe.platform} ended well, and wrote no {product}",
            code="build-failed",
            hint="see where the project's own settings put it, build it by hand, and give the file to ocibuild pack",
        )
    folder = bench.scratch / "programs" / str(recipe.platform).replace("/", "-")
    suffix = ".wasm" if recipe.platform.is_wasm else ""
    kept = folder / (_plain(recipe.name or product.name.removesuffix(".wasm"), sources.folder) + suffix)
    with atomic.translated(kept):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(product, kept)
    return kept


def _plain(name: str, folder: Path) -> str:
    """A name that is one part of a path: projects may call themselves anything."""
    return next((made for text in (name, folder.name) if (made := _UNUSUAL.sub("-", text).strip(".-"))), "program")


def _program(path: Path, recipe: Recipe) -> bool:
    return path.is_file() and (path.suffix == ".wasm" if recipe.platform.is_wasm else os.access(path, os.X_OK))


def checked(path: Path, recipe: Recipe, *, dynamic: bool) -> Artifact:
    """The program, if it is what the recipe's platform needs.

    Raises ToolError (`build-mismatch`), InputError (`not-static`, `not-a-command`).
    """
    artifact = inspect(path, allow_dynamic=True)
    match artifact.facts:
        case ElfFacts() as facts:
            _check_native(artifact, facts, recipe, dynamic)
        case WasmFacts() as facts:
            _check_wasm(artifact, facts, recipe)
    return artifact


def _check_native(artifact: Artifact, facts: ElfFacts, recipe: Recipe, dynamic: bool) -> None:
    asked = recipe.platform
    if (facts.platform.os, facts.platform.architecture) != (asked.os, asked.architecture):
        raise _other(artifact, f"a program for {facts.platform}", asked)
    if not facts.static and not dynamic:
        needs = facts.interpreter or ", ".join(facts.needed)
        raise InputError(
            f"{artifact.name} for {asked} is linked dynamically: it needs {needs}, and an empty image has none",
            code="not-static",
            hint=f"{recipe.cure or 'link it statically'}; or --allow-dynamic",
        )


def _check_wasm(artifact: Artifact, facts: WasmFacts, recipe: Recipe) -> None:
    asked = recipe.platform
    what = f"a {facts.kind} of WASI {facts.wasi}"
    if not asked.is_wasm:
        raise _other(artifact, what, asked)
    if asked.os == "wasip1" and (facts.kind != "module" or facts.wasi not in ("preview1", "none")):
        raise _other(artifact, what, asked)
    if asked.os == "wasip2" and (facts.kind != "component" or not facts.wasi.startswith("0.2.")):
        raise _other(artifact, what, asked)
    if facts.role not in ("command", "http", "proxy-wasm"):
        raise InputError(
            f"{artifact.name} is a {facts.role}: nothing in it is started",
            code="not-a-command",
            hint=recipe.cure or "a command has a main: it exports _start, or wasi:cli/run",
        )


def _other(artifact: Artifact, made: str, asked: Platform) -> ToolError:
    return ToolError(
        f"{artifact.name} was built for {asked}, and is {made}",
        code="build-mismatch",
        hint="see what in the project's own settings chooses another target; --platform says which one is wanted",
    )
