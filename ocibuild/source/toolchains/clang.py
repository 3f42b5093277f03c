"""C and C++: the sources of one program, compiled and linked by `zig cc`. A project's own build system is not run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from ocibuild.errors import InputError, UsageError
from ocibuild.source.toolchains import zig
from ocibuild.source.toolchains.bench import Bench
from ocibuild.source.toolchains.recipe import Recipe, Sources, Step, Told, one_of
from ocibuild.spec.platform import Platform

NAME = "c"
TITLE = "C"
_C, _CPP = (".c",), (".cc", ".cpp", ".cxx", ".c++")
_HEADERS = (".h", ".hh", ".hpp", ".hxx", ".inc")
_FLAGS = ("CPPFLAGS", "CFLAGS", "CXXFLAGS", "LDFLAGS")
_PATHS = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH")
_INCLUDED = re.compile(r"""^\s*#\s*(?:include|embed)\s*["<]([^">]+)""", re.MULTILINE)
_MAIN = re.compile(r"^[\w\s*]*\bmain\s*\(", re.MULTILINE)
_OTHERS = ("Cargo.toml", "go.mod", "build.zig", "package.json", "pyproject.toml")
BUILDERS = ("Makefile", "makefile", "GNUmakefile", "CMakeLists.txt", "meson.build", "configure", "configure.ac")


def seen(folder: Path) -> str | None:
    """A C or C++ file in the folder or in src, unless these are parts of a project in another language."""
    if any((folder / name).is_file() for name in _OTHERS):
        return None
    return next((path.relative_to(folder).as_posix() for path in _files(folder)), None)


def recipes(sources: Sources, platforms: Sequence[Platform], bench: Bench) -> list[Recipe]:
    """One `zig cc` a platform. Raises ToolError, UsageError, InputError."""
    files, name = _program(sources)
    targets = [zig.target(platform) for platform in platforms]
    program = zig.compiler(bench, "the sources are C's")
    plus = any(file.suffix in _CPP for file in files)
    made = []
    for platform, (triple, cpu) in zip(platforms, targets, strict=True):
        product = bench.scratch / "c" / str(platform).replace("/", "-") / name
        words = [*program, "c++" if plus else "cc", "-target", triple, *([f"-mcpu={cpu}"] if cpu else [])]
        words += ["-Os", "-s", f"-ffile-prefix-map={sources.folder}=."]
        words += [f"-I{place}" for place in (sources.folder, sources.folder / "include") if place.is_dir()]
        words += _said(bench, "CPPFLAGS", "CXXFLAGS" if plus else "CFLAGS")
        words += [*map(str, files), *sources.arguments, *_said(bench, "LDFLAGS"), "-o", str(product)]
        product.parent.mkdir(parents=True)
        step = Step(tuple(words), sources.folder, {"SOURCE_DATE_EPOCH": str(sources.epoch)})
        made.append(Recipe(platform, name, (step,), product, zig.cure(platform)))
    return made


def told(sources: Sources, platforms: Sequence[Platform], bench: Bench) -> Told:
    """The folder; zig brings the headers and libraries of its targets. Raises as `recipes`."""
    program = zig.compiler(bench, "the sources are C's")
    words = [*sources.arguments, *_said(bench, *_FLAGS)]
    if elsewhere := next((word for word in words if "/" in word or word.startswith(("@", "-l", "-I", "-L"))), None):
        return Told(doubt=f"{elsewhere} may lead to files of elsewhere")
    if path := next((name for name in _PATHS if bench.environ.get(name)), None):
        return Told(doubt=f"{path} leads to headers or libraries of this machine")
    for file in (one for one in sources.folder.rglob("*") if one.suffix in (*_C, *_CPP, *_HEADERS) and one.is_file()):
        for name in _INCLUDED.findall(_text(file)):
            if name.startswith("/") or not (file.parent / name).resolve().is_relative_to(sources.folder):
                return Told(doubt=f"{file.name} includes {name}, which is elsewhere")
    version = bench.ask([*program, "version"], sources.folder)
    return Told((sources.folder,), (version,), (sources.folder / ".git",), _FLAGS)


def _program(sources: Sources) -> tuple[list[Path], str]:
    """The files of the one program, and what it is called: like the file with its main, or else like the folder."""
    folder = sources.folder
    files = _files(folder)
    if not files:
        raise InputError(
            f"{folder} has no C or C++ files, nor has its src",
            code="sources-unknown",
            hint="give the folder they are in",
        )
    builder = next((name for name in BUILDERS if (folder / name).is_file()), None)
    if builder and not sources.chosen:
        raise UsageError(
            f"{folder} has C sources and a {builder}, which is not run here",
            code="language-needed",
            hint="build it with CC='zig cc -target wasm32-wasi' (or x86_64-linux-musl) and ocibuild pack the result; "
            "--language c compiles the files as they are",
        )
    mains = {file.relative_to(folder).as_posix(): file for file in files if _MAIN.search(_text(file))}
    if not mains and sources.program is None:
        return files, folder.name
    chosen = mains[one_of({path: path for path in mains}, sources.program, "file with a main", str(folder))]
    rest = [file for file in files if file not in mains.values()]
    return [chosen, *rest], folder.name if chosen.stem == "main" else chosen.stem


def _files(folder: Path) -> list[Path]:
    for place in (folder, folder / "src"):
        found = sorted(path for path in place.glob("*") if path.suffix in _C + _CPP and path.is_file())
        if found:
            return found
    return []


def _text(file: Path) -> str:
    try:
        return re.sub(r"/\*.*?\*/|//[^\n]*", "", file.read_text(encoding="utf-8", errors="replace"), flags=re.DOTALL)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}", code="sources-invalid") from error


def _said(bench: Bench, *names: str) -> list[str]:
    """Flags that the environment has, as make takes them."""
    try:
        return [word for name in names for word in shlex.split(bench.environ.get(name, ""))]
    except ValueError as error:
        raise UsageError(
            f"{' or '.join(names)} in the environment cannot be split: {error}", code="words-invalid"
        ) from error
