"""Go: `go build` for each platform, without cgo. https://pkg.go.dev/cmd/go, https://go.dev/wiki/MinimumRequirements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ocibuild.errors import InputError, UsageError
from ocibuild.source.toolchains.bench import Bench
from ocibuild.source.toolchains.recipe import Recipe, Sources, Step, Told, one_of, unbuildable
from ocibuild.spec.platform import Platform

NAME = "go"
TITLE = "Go"
_CURE = "install Go 1.21 or later: https://go.dev/dl, or your system's package (Debian: apt install golang-go)"
_STATIC = "something links C libraries: leave cgo and -linkmode=external out"
_DEPENDENCY = (
    "{{if not .Standard}}{{with .Module}}{{.Path}}\t{{.Dir}}\t"
    "{{if .Replace}}{{.Replace.Version}}{{else}}{{.Version}}{{end}}{{end}}{{end}}"
)
_LEVELS = {"arm": ("GOARM", "{}", "v7"), "amd64": ("GOAMD64", "v{}", "v1"), "arm64": ("GOARM64", "v{}.0", "v8")}


def seen(folder: Path) -> str | None:
    """go.mod, or Go files inside a module."""
    if (folder / "go.mod").is_file():
        return "go.mod"
    source = next((path.name for path in sorted(folder.glob("*.go")) if not path.name.endswith("_test.go")), None)
    inside = source is not None and any((parent / "go.mod").is_file() for parent in folder.resolve().parents)
    return source if inside else None


def recipes(sources: Sources, platforms: Sequence[Platform], bench: Bench) -> list[Recipe]:
    """One `go build` a platform. Raises ToolError, UsageError, InputError."""
    go = bench.need("go", "the sources are Go's", _CURE)
    known = set(bench.ask([go, "tool", "dist", "list"], sources.folder).split())
    targets = {platform: _target(platform, known) for platform in platforms}
    # A package may have a main for one platform only; the first that was asked for decides.
    package, name = _package(go, sources, bench, targets[platforms[0]])
    return [_recipe(go, sources, bench, platform, targets[platform], package, name) for platform in platforms]


def told(sources: Sources, platforms: Sequence[Platform], bench: Bench) -> Told:
    """The modules of this machine; those of elsewhere are pinned by go.sum. Raises as `recipes`."""
    go = bench.need("go", "the sources are Go's", _CURE)
    if sources.git:
        return Told(doubt="go asks git for the revision")
    if any(one.lstrip("-").startswith(("overlay", "modfile", "toolexec")) for one in sources.arguments):
        return Told(doubt="an argument names files of elsewhere")
    known = set(bench.ask([go, "tool", "dist", "list"], sources.folder).split())
    names = ("GOVERSION", "GOFLAGS", "GOEXPERIMENT", "GOTOOLCHAIN", "GOWORK")
    words = bench.ask([go, "env", *names], sources.folder).splitlines()
    if words[-1] not in ("", "off"):
        words.append(Path(words[-1]).read_text(encoding="utf-8", errors="replace"))
    folders = set[Path]()
    tags = [one for one in sources.arguments if one.lstrip("-").startswith(("tags=", "mod="))]
    for platform in platforms:
        env = _target(platform, known)
        package, _ = _package(go, sources, bench, env)
        listed = bench.ask([go, "list", "-deps", *tags, "-f", _DEPENDENCY, package], sources.folder, env)
        for row in (line.split("\t") for line in listed.splitlines() if line):
            _, folder, version = row
            if version:
                words.append("\t".join(row))
            else:  # only a module of this machine has none
                folders.add(Path(folder))
    return Told(tuple(sorted(folders)), tuple(words), tuple(one / ".git" for one in folders), ("GO", "CGO_"))


def _recipe(
    go: str, sources: Sources, bench: Bench, platform: Platform, env: dict[str, str], package: str, name: str
) -> Recipe:
    product = bench.scratch / "go" / str(platform).replace("/", "-")
    arguments, flags = _linked(sources.arguments)
    words = [go, "build", "-trimpath", f"-ldflags={flags}"]
    words.append(f"-buildvcs={'auto' if sources.git else 'false'}")
    env = {**env, "SOURCE_DATE_EPOCH": str(sources.epoch)}
    step = Step((*words, *arguments, "-o", str(product), package), sources.folder, env)
    return Recipe(platform, name, (step,), product, "" if platform.is_wasm else _STATIC)


def _linked(arguments: Sequence[str]) -> tuple[list[str], str]:
    """The person's `-ldflags` join ours: go itself would let the last one replace the others."""
    flags, others = ["-s", "-w", "-buildid="], []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in ("-ldflags", "--ldflags"):
            flags.append(value)
        else:
            others.append(argument)
    return others, " ".join(flags)


def _target(platform: Platform, known: set[str]) -> dict[str, str]:
    system = "wasip1" if platform.os == "wasi" and platform.is_wasm else platform.os
    if f"{system}/{platform.architecture}" not in known:
        if platform.is_wasm and system == "wasip1":
            raise unbuildable("this Go", platform, _CURE)
        hint = "Go makes modules of WASI preview 1: wasi/wasm" if platform.is_wasm else "see: go tool dist list"
        raise unbuildable("Go", platform, hint)
    if platform.os == "js" or not (platform.is_wasm or platform.os == "linux"):
        raise unbuildable("ocibuild", platform, "images from scratch are for linux/… and wasi/wasm")
    env = {"GOOS": system, "GOARCH": platform.architecture, "CGO_ENABLED": "0"}
    if platform.architecture in _LEVELS:
        # Said in any case: a level that this machine's settings have is not one that was asked for.
        variable, level, usual = _LEVELS[platform.architecture]
        env[variable] = level.format((platform.variant or usual).removeprefix("v"))
    return env


def _package(go: str, sources: Sources, bench: Bench, env: dict[str, str]) -> tuple[str, str]:
    """The main package to build, as go takes it, and what its program is called."""
    form = "{{.Name}}\t{{.ImportPath}}\t{{.Dir}}"
    if sources.program is not None:
        listed = _list(bench.ask([go, "list", "-f", form, _written(sources)], sources.folder, env))
        for name, path, _ in listed:
            if name == "main":
                return path, _called(path)
        raise UsageError(
            f"{sources.program} is package {listed[0][0] if listed else 'none'}, not main",
            code="program-unknown",
            hint="choose the folder of a main package, as in --program ./cmd/app",
        )
    folder = sources.folder.resolve()
    mains = [entry for entry in _list(bench.ask([go, "list", "-f", form, "./..."], folder, env)) if entry[0] == "main"]
    here = [path for _, path, where in mains if Path(where).resolve() == folder]
    if here:
        return ".", _called(here[0])
    if not mains:
        _refuse_cgo(bench.ask([go, "list", "-e", "-f", form, "./..."], folder, {**env, "CGO_ENABLED": "1"}), sources)
    places = {_relative(Path(where).resolve(), folder): path for _, path, where in mains}
    chosen = one_of(places, None, "main package", str(sources.folder))
    return chosen, _called(places[chosen])


def _refuse_cgo(listed: str, sources: Sources) -> None:
    """Raises InputError where there would be a program with cgo: without it, go does not see those files at all."""
    if any(name == "main" for name, _, _ in _list(listed)):
        raise InputError(
            f"the program in {sources.folder} has files that import C, and none that go without",
            code="sources-invalid",
            hint="use packages in pure Go; or link it statically by hand (CGO_ENABLED=1, zig cc), and ocibuild pack it",
        )


def _written(sources: Sources) -> str:
    """`cmd/app` is a folder too, where there is one: go itself would look for it in its standard library."""
    program = sources.program or "."
    plain = not program.startswith((".", "/"))
    return f"./{program}" if plain and (sources.folder / program).is_dir() else program


def _list(text: str) -> list[tuple[str, str, str]]:
    rows = [line.split("\t") for line in text.splitlines()]
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]


def _relative(place: Path, folder: Path) -> str:
    return f"./{place.relative_to(folder).as_posix()}"


def _called(path: str) -> str:
    """A program's name as go install has it: the last element that is no version."""
    elements = path.split("/")
    last = elements[-1]
    if len(elements) > 1 and last.startswith("v") and last[1:].isdigit() and int(last[1:]) > 1:
        last = elements[-2]
    return last
