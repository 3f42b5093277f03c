"""Rust: `cargo build` for each platform. https://doc.rust-lang.org/cargo, https://doc.rust-lang.org/rustc/platform-support.html.

Each target has a folder of its own below the project's `target/ocibuild`: cargo locks such a folder, so targets would
wait for one another, and our flags would make the project's own next build begin anew.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocibuild.errors import InputError
from ocibuild.source.toolchains.bench import Bench, missing
from ocibuild.source.toolchains.recipe import Recipe, Sources, Step, Told, Traced, one_of, unbuildable
from ocibuild.spec.platform import Platform

NAME = "rust"
TITLE = "Rust"
_CURE = "install Rust: https://rustup.rs, or your system's package (Debian: apt install cargo)"
_STATIC = "a crate links a shared library: choose its static or vendored feature, or install the musl target"
_MACHINES = {
    Platform("linux", "amd64"): ("x86_64", ""),
    Platform("linux", "amd64", "v2"): ("x86_64", ""),
    Platform("linux", "amd64", "v3"): ("x86_64", ""),
    Platform("linux", "amd64", "v4"): ("x86_64", ""),
    Platform("linux", "arm64"): ("aarch64", ""),
    Platform("linux", "arm", "v7"): ("armv7", "eabihf"),
    Platform("linux", "arm", "v6"): ("arm", "eabihf"),
    Platform("linux", "arm", "v5"): ("armv5te", "eabi"),
    Platform("linux", "386"): ("i686", ""),
    Platform("linux", "riscv64"): ("riscv64gc", ""),
    Platform("linux", "ppc64le"): ("powerpc64le", ""),
    Platform("linux", "s390x"): ("s390x", ""),
    Platform("linux", "loong64"): ("loongarch64", ""),
}
# rustc calls preview 1 wasm32-wasip1 since 1.78, and wasm32-wasi before.
_WASM = {
    "wasi": ("wasm32-wasip1", "wasm32-wasi"),
    "wasip1": ("wasm32-wasip1", "wasm32-wasi"),
    "wasip2": ("wasm32-wasip2",),
}


def seen(folder: Path) -> str | None:
    """Cargo.toml."""
    return "Cargo.toml" if (folder / "Cargo.toml").is_file() else None


def recipes(sources: Sources, platforms: Sequence[Platform], bench: Bench) -> list[Recipe]:
    """One `cargo build` a platform. Raises ToolError, UsageError, InputError."""
    cargo = bench.environ.get("CARGO") or bench.need("cargo", "the sources are Rust's", _CURE)
    compiler = _Compiler.found(sources.folder, bench)
    triples = {platform: compiler.triple(platform) for platform in platforms}
    crate = _Crate.read(cargo, sources, bench)
    return [_recipe(cargo, compiler, crate, sources, bench, each, triple) for each, triple in triples.items()]


def told(sources: Sources, platforms: Sequence[Platform], bench: Bench) -> Told:
    """The folders of this machine's crates; those of registries are pinned by Cargo.lock. Raises as `recipes`."""
    cargo = bench.environ.get("CARGO") or bench.need("cargo", "the sources are Rust's", _CURE)
    compiler = _Compiler.found(sources.folder, bench)
    triples = [compiler.triple(platform) for platform in platforms]
    if own := next((triple for triple in triples if triple.endswith(("gnu", "gnueabihf", "gnueabi"))), None):
        return Told(doubt=f"{own} links this machine's own C library")
    if not (_Crate.read(cargo, sources, bench).workspace / "Cargo.lock").is_file():
        return Told(doubt="there is no Cargo.lock, so cargo may take other crates the next time")
    document = json.loads(
        bench.ask(
            [cargo, "metadata", "--locked", "--format-version", "1", *_features(sources.arguments)], sources.folder
        )
    )
    folders = {Path(document["workspace_root"])}
    for package in document["packages"]:
        if package.get("links"):
            return Told(doubt=f"{package['name']} links a library of this machine")
        if package["source"] is None:
            kinds = {kind for target in package["targets"] for kind in target["kind"]}
            if runs := next((kind for kind in ("custom-build", "proc-macro") if kind in kinds), None):
                what = "a build script" if runs == "custom-build" else "a macro"
                return Told(doubt=f"{package['name']} runs {what} of its own, which may read anything")
            folders.add(Path(package["manifest_path"]).parent)
    words = [
        *(bench.ask(said, sources.folder) for said in ([compiler.rustc, "-vV"], [cargo, "-V"])),
        json.dumps(_settings(sources.folder, bench), sort_keys=True, default=str),
        *triples,
    ]
    if (linker := bench.find("cc")) is not None and not all(triple.startswith("wasm") for triple in triples):
        words.append(bench.ask([linker, "--version"], sources.folder))
    left_out = (Path(document["target_directory"]), *(folder / ".git" for folder in folders))
    return Told(
        tuple(sorted(folders)), tuple(words), left_out, ("CARGO", "RUST", "CC", "CFLAGS", "AR", "LD", "PATH", "OUT_DIR")
    )


def _features(arguments: Sequence[str]) -> list[str]:
    """What of the arguments chooses which crates there are."""
    return [one for one in arguments if one.startswith(("--features=", "--no-default-features", "--all-features"))]


def _traced(product: Path) -> Traced:
    """What rustc noted: files in make's form, variables as `# env-dep:NAME[=VALUE]`."""
    files, variables = set[str](), set[str]()
    for note in (product.with_suffix(".d"), *(product.parent / "deps").glob("*.d")):
        with suppress(OSError):
            for line in note.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("# env-dep:"):
                    variables.add(line.removeprefix("# env-dep:").partition("=")[0])
                elif note.parent == product.parent:
                    _, _, listed = line.partition(": ")
                    files.update(one.replace("\\ ", " ") for one in re.split(r"(?<!\\) ", listed) if one)
    return Traced(frozenset(files), frozenset(variables))


def _recipe(
    cargo: str, compiler: _Compiler, crate: _Crate, sources: Sources, bench: Bench, platform: Platform, triple: str
) -> Recipe:
    target = crate.target / "ocibuild" / triple
    words = [cargo, "build", "--release", "--target", triple, "--target-dir", str(target)]
    words += ["--package", crate.package, "--bin", crate.name]
    if (crate.workspace / "Cargo.lock").is_file():
        words.append("--locked")
    settings = _settings(sources.folder, bench)
    flags = _flags(platform, crate, compiler, bench, target)
    env = {"SOURCE_DATE_EPOCH": str(sources.epoch)}
    if "CARGO_ENCODED_RUSTFLAGS" in bench.environ or "RUSTFLAGS" in bench.environ:
        # cargo would not look at its settings then; what the person said goes first.
        own = bench.environ.get("CARGO_ENCODED_RUSTFLAGS")
        said = own.split("\x1f") if own is not None else bench.environ["RUSTFLAGS"].split()
        env["CARGO_ENCODED_RUSTFLAGS"] = "\x1f".join([*filter(None, said), *flags])
    else:
        # cargo joins a target's flags from everywhere, and takes those of [build] only where a target has none.
        has_own = f"CARGO_TARGET_{_variable(triple)}_RUSTFLAGS" in bench.environ
        if not has_own and not settings.get("target", {}).get(triple, {}).get("rustflags"):
            build = _words(settings.get("build", {}).get("rustflags"))
            flags = [*build, *bench.environ.get("CARGO_BUILD_RUSTFLAGS", "").split(), *flags]
        words += ["--config", f"target.{triple}.rustflags={json.dumps(flags)}"]
    linker = compiler.linker(triple, bench, settings)
    if linker:
        words += ["--config", f"target.{triple}.linker={json.dumps(linker)}"]
    step = Step((*words, *sources.arguments), sources.folder, env)
    product = target / triple / "release" / (crate.name + (".wasm" if platform.is_wasm else ""))
    cure = "" if platform.is_wasm else _STATIC
    return Recipe(platform, crate.name, (step,), product, cure, lambda: _traced(product))


def _flags(platform: Platform, crate: _Crate, compiler: _Compiler, bench: Bench, target: Path) -> list[str]:
    """What makes it static, and what keeps folders of this machine out of it; a later prefix goes over an earlier one."""
    flags = [] if platform.is_wasm else ["-C", "target-feature=+crt-static"]
    if platform.architecture == "amd64" and platform.variant:
        flags += ["-C", f"target-cpu=x86-64-{platform.variant}"]
    home = bench.environ.get("CARGO_HOME") or str(bench.home / ".cargo")
    places = ((compiler.sysroot, "/rust"), (home, "/cargo"), (str(crate.workspace), "/src"), (str(target), "/target"))
    return flags + [f"--remap-path-prefix={place}={name}" for place, name in places]


@dataclass(frozen=True)
class _Crate:
    """The program: its package and name, the workspace it is in, and where that has its builds."""

    package: str
    name: str
    workspace: Path
    target: Path

    @classmethod
    def read(cls, cargo: str, sources: Sources, bench: Bench) -> _Crate:
        words = [cargo, "metadata", "--no-deps", "--format-version", "1"]
        try:
            document = json.loads(bench.ask(words, sources.folder))
            here = (sources.folder / "Cargo.toml").resolve()
            members = [one for one in document["packages"] if Path(one["manifest_path"]).resolve() == here]
            members = members or _default_members(document)
            binaries = {
                target["name"]: package
                for package in members
                for target in package["targets"]
                if "bin" in target["kind"]
            }
            workspace, target = Path(document["workspace_root"]), Path(document["target_directory"])
            runs = [package.get("default_run") for package in members if package.get("default_run")]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"what cargo says of {sources.folder} cannot be read: {error}", code="sources-invalid"
            ) from error
        asked = sources.program or (runs[0] if len(runs) == 1 else None)
        name = one_of({name: name for name in binaries}, asked, "binary", f"the crates of {sources.folder}")
        return cls(binaries[name]["name"], name, workspace, target)


def _default_members(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    # Cargo says since 1.71 which members a build in the workspace's folder means.
    wanted = document.get("workspace_default_members") or document["workspace_members"]
    return [package for package in document["packages"] if package["id"] in wanted]


@dataclass(frozen=True)
class _Compiler:
    """rustc: where its libraries are, and which targets it knows of and has."""

    rustc: str
    sysroot: str
    known: frozenset[str]
    has_rustup: bool
    host: str

    @classmethod
    def found(cls, folder: Path, bench: Bench) -> _Compiler:
        rustc = bench.environ.get("RUSTC") or bench.need("rustc", "the sources are Rust's", _CURE)
        sysroot = bench.ask([rustc, "--print", "sysroot"], folder).strip()
        known = frozenset(bench.ask([rustc, "--print", "target-list"], folder).split())
        said = bench.ask([rustc, "-vV"], folder).splitlines()
        host = next((line.removeprefix("host: ") for line in said if line.startswith("host: ")), "")
        return cls(rustc, sysroot, known, "rustup" in sysroot and bench.find("rustup") is not None, host)

    def has(self, triple: str) -> bool:
        return (Path(self.sysroot) / "lib" / "rustlib" / triple / "lib").is_dir()

    def triple(self, platform: Platform) -> str:
        """The target for a platform. Raises UsageError (`platform-unbuildable`), ToolError (`toolchain-missing`)."""
        if platform.is_wasm:
            names = _WASM.get(platform.os, ()) if platform.architecture == "wasm" else ()
        elif platform in _MACHINES:
            machine, abi = _MACHINES[platform]
            names = tuple(f"{machine}-unknown-linux-{libc}{abi}" for libc in ("musl", "gnu"))
        else:
            names = ()
        known = [name for name in names if name in self.known]
        if not known:
            raise unbuildable("this Rust", platform, "ask for wasi/wasm or linux/…; see: rustc --print target-list")
        for name in known:
            if self.has(name):
                return name
        cure = f"rustup target add {known[0]}"
        if not self.has_rustup:
            cure = "install it with the package your system has for it (Debian: apt install libstd-rust-dev-wasm32 lld)"
            if not platform.is_wasm:
                cure = f"install Rust with rustup (https://rustup.rs), then: rustup target add {known[0]}"
        raise missing(f"Rust's target {known[0]} is not installed, which {platform} needs", cure)

    def linker(self, triple: str, bench: Bench, settings: Mapping[str, Any]) -> str | None:
        """Who links for another machine than this, where nobody has said it; None leaves it to rustc."""
        machine, _, rest = triple.partition("-unknown-linux-")
        variable = f"CARGO_TARGET_{_variable(triple)}_LINKER"
        said = bench.environ.get(variable) or settings.get("target", {}).get(triple, {}).get("linker")
        if not rest or said or (self.host.startswith(f"{machine}-") and "linux" in self.host):
            return None
        if rest.startswith("musl"):
            return "rust-lld"  # the target brings its own libc; only the linker must not be this machine's
        return bench.find(f"{machine.replace('riscv64gc', 'riscv64')}-linux-{rest}-gcc")


def _variable(triple: str) -> str:
    return triple.upper().replace("-", "_")


def _settings(folder: Path, bench: Bench) -> dict[str, Any]:
    """Cargo's own settings as far as they matter here, nearest first: `.cargo/config.toml` up from the folder."""
    home = Path(bench.environ.get("CARGO_HOME") or bench.home / ".cargo")
    found: dict[str, Any] = {}
    for place in (*(parent / ".cargo" for parent in (folder, *folder.parents)), home):
        for document in _config(place):
            found = _joined(document, found)
    return found


def _config(place: Path) -> Iterator[dict[str, Any]]:
    for name in ("config.toml", "config"):
        try:
            yield tomllib.loads((place / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # cargo itself complains about what it cannot read, with the place
        return


def _joined(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    joined = dict(below)
    for key, value in above.items():
        other = joined.get(key)
        joined[key] = _joined(other, value) if isinstance(other, dict) and isinstance(value, dict) else value
    return joined


def _words(flags: object) -> list[str]:
    """Flags as cargo's settings have them: an array, or words in one text."""
    if isinstance(flags, str):
        return shlex.split(flags)
    return [str(flag) for flag in flags] if isinstance(flags, list) else []
