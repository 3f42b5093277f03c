"""Zig: `zig build` for each platform, and the compiler itself, which C is built with too. https://ziglang.org/documentation.

Zig brings the C libraries of all its targets, musl and wasi-libc among them, so nothing has to be installed a target.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from ocibuild.source.toolchains.bench import Bench, missing
from ocibuild.source.toolchains.recipe import Recipe, Sources, Step, Told, unbuildable
from ocibuild.spec.platform import Platform

NAME = "zig"
TITLE = "Zig"
_STATIC = "a library is linked dynamically: take -dynamic and linkSystemLibrary out, or build it from source too"
_CURE = "pip install ziglang, or put a zig program on PATH (https://ziglang.org/download)"
_MACHINES = {
    Platform("linux", "amd64"): ("x86_64-linux-musl", ""),
    Platform("linux", "amd64", "v2"): ("x86_64-linux-musl", "x86_64_v2"),
    Platform("linux", "amd64", "v3"): ("x86_64-linux-musl", "x86_64_v3"),
    Platform("linux", "amd64", "v4"): ("x86_64-linux-musl", "x86_64_v4"),
    Platform("linux", "arm64"): ("aarch64-linux-musl", ""),
    Platform("linux", "arm", "v7"): ("arm-linux-musleabihf", "generic+v7a"),
    Platform("linux", "arm", "v6"): ("arm-linux-musleabihf", "arm1176jzf_s"),
    Platform("linux", "386"): ("x86-linux-musl", ""),
    Platform("linux", "riscv64"): ("riscv64-linux-musl", ""),
    Platform("linux", "ppc64le"): ("powerpc64le-linux-musl", ""),
    Platform("linux", "s390x"): ("s390x-linux-musl", ""),
    Platform("linux", "loong64"): ("loongarch64-linux-musl", ""),
    Platform("wasi", "wasm"): ("wasm32-wasi", ""),
    Platform("wasip1", "wasm"): ("wasm32-wasi", ""),
}


def seen(folder: Path) -> str | None:
    """build.zig."""
    return "build.zig" if (folder / "build.zig").is_file() else None


def recipes(sources: Sources, platforms: Sequence[Platform], bench: Bench) -> list[Recipe]:
    """One `zig build` a platform, each with a prefix of its own. Raises ToolError, UsageError."""
    zig = compiler(bench, "the sources are Zig's")
    made = []
    for platform in platforms:
        triple, cpu = target(platform)
        prefix = bench.scratch / "zig" / str(platform).replace("/", "-")
        # Small is stripped: what a build for safety keeps for its traces are the folders of this machine.
        words = [*zig, "build", "--release=small", f"-Dtarget={triple}", *([f"-Dcpu={cpu}"] if cpu else [])]
        words += ["--prefix", str(prefix), *sources.arguments]
        step = Step(tuple(words), sources.folder, {"SOURCE_DATE_EPOCH": str(sources.epoch)})
        made.append(Recipe(platform, None, (step,), prefix / "bin", cure(platform)))
    return made


def told(sources: Sources, platforms: Sequence[Platform], bench: Bench) -> Told:
    """Nothing: build.zig is a program."""
    return Told(doubt="build.zig is a program, which may read anything")


def compiler(bench: Bench, what: str) -> list[str]:
    """The words that start zig: on PATH, or PyPI's package beside us. Raises ToolError (`toolchain-missing`)."""
    for name in ("zig", "python-zig"):
        if found := bench.find(name):
            return [found]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang"]
    raise missing(f"zig is not on PATH, and {what}", _CURE)


def cure(platform: Platform) -> str:
    """What to do where a program turns out not to be static."""
    return "" if platform.is_wasm else _STATIC


def target(platform: Platform) -> tuple[str, str]:
    """Zig's target for a platform, and the processor where it is not the usual one.

    Raises UsageError (`platform-unbuildable`).
    """
    if platform in _MACHINES:
        return _MACHINES[platform]
    hint = "ask for wasi/wasm or linux/…"
    if platform.is_wasm:
        hint = (
            "zig makes modules of WASI preview 1: ask for wasi/wasm; wasm-tools component new makes a component of one"
        )
    raise unbuildable("zig", platform, hint)
