"""Fetches the packages that corpus.toml pins, with each world's ordinary client, and lists the programs inside.

Everything is kept in a folder of its own and fetched once. A package that cannot be had is named, not hidden.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wasm_yardstick import WASM_TOOLS

HERE = Path(__file__).parent
GO_PROGRAM = 'package main\n\nfunc main() { println("hello") }\n'


@dataclass(frozen=True)
class Program:
    """A file out of a package, and what the package's name says its platform is (None: it does not say)."""

    path: Path
    origin: str
    platform: str | None = None


class Corpus:
    """The packages under `folder`; `missing` names those that could not be fetched."""

    def __init__(self, folder: Path, offline: bool = False) -> None:
        self.folder = folder.absolute()
        self.offline = offline
        self.pins = tomllib.loads((HERE / "corpus.toml").read_text())
        self.missing: list[str] = []

    def programs(self) -> Iterator[Program]:
        """Every program once, whatever number of packages holds the same bytes."""
        seen: set[bytes] = set()
        for program in self._all():
            digest = hashlib.file_digest(program.path.open("rb"), "sha256").digest()
            if digest not in seen:
                seen.add(digest)
                yield program

    def _all(self) -> Iterator[Program]:
        for spec in self.pins["npm"]:
            yield from self._packed("npm", spec, self._npm, _npm_platform(spec))
        for spec in self.pins["go"]:
            yield from self._packed("go", spec, self._go, None)
        for spec in self.pins["crates"]:
            yield from self._packed("crates", spec, self._crate, None)
        for name, wheel in self.pins["wheels"].items():
            for tag in wheel["platforms"]:
                spec = f"{name}=={wheel['version']}/{tag}"
                yield from self._packed("wheels", spec, self._wheel, _wheel_platform(tag))
        self._apt_update()
        for package in self.pins["debian"]["packages"]:
            for architecture in self.pins["debian"]["architectures"]:
                spec = f"{package}:{architecture}"
                yield from self._packed("debian", spec, self._deb, _debian_platform(architecture))
        for target in self.pins["build"]["targets"]:
            yield from self._packed("build", target, self._build, _go_platform(target))

    def _packed(
        self, world: str, spec: str, fetch: Callable[[str, Path], None], platform: str | None
    ) -> Iterator[Program]:
        place = self.folder / world / spec.replace("/", "_").replace(":", "_")
        if self.offline and not place.exists():
            self.missing.append(f"{world} {spec}: not fetched")
            return
        if not place.exists():
            print(f"fetching {world} {spec}", file=sys.stderr, flush=True)
            partial = place.with_name(f"{place.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            try:
                fetch(spec, partial)
                partial.rename(place)
            except (subprocess.SubprocessError, OSError, tarfile.TarError) as error:
                self.missing.append(f"{world} {spec}: {str(error)[:200]}")
                return
        for path in self._chosen(place):
            yield Program(path, f"{world} {spec}", platform)

    def _chosen(self, place: Path) -> Iterator[Path]:
        counts: dict[str, int] = {}
        for path in sorted(place.rglob("*")):
            if path.is_symlink() or not path.is_file() or not _is_program(path):
                continue
            rule = next((rule for rule in self.pins["every"] if rule in path.as_posix()), None)
            if rule is not None:
                counts[rule] = counts.get(rule, -1) + 1
                if counts[rule] % self.pins["every"][rule]:
                    continue
            yield path

    # --- the clients ----------------------------------------------------------------------------------------------

    def _npm(self, spec: str, into: Path) -> None:
        _run(["npm", "pack", "--silent", "--pack-destination", into, spec])
        for archive in into.glob("*.tgz"):
            with tarfile.open(archive) as tar:
                tar.extractall(into, filter="data")
            archive.unlink()

    def _go(self, spec: str, into: Path) -> None:
        probe = into / "probe"
        probe.mkdir()
        environment = {"GOMODCACHE": str(self.folder / "gomod"), "GOFLAGS": "-modcacherw"}
        _run(["go", "mod", "init", "probe"], cwd=probe, environment=environment)
        _run(["go", "mod", "download", spec], cwd=probe, environment=environment)
        name, _, version = spec.partition("@")
        for path in (self.folder / "gomod" / f"{name}@{version}").rglob("*.wasm"):
            target = into / path.relative_to(self.folder / "gomod")
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)

    def _crate(self, spec: str, into: Path) -> None:
        home = self.folder / "cargo"
        _run(["cargo", "info", spec], cwd=into, environment={"CARGO_HOME": str(home)})
        name, _, version = spec.partition("@")
        for archive in home.glob(f"registry/cache/*/{name}-{version}.crate"):
            with tarfile.open(archive) as tar:
                tar.extractall(into, filter="data")
        for text in [*into.rglob("*.wat")]:
            _assemble(text)

    def _wheel(self, spec: str, into: Path) -> None:
        requirement, _, tag = spec.partition("/")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        _run([*pip, "--platform", tag, "--dest", into, requirement])
        for archive in into.glob("*.whl"):
            with zipfile.ZipFile(archive) as bundle:
                bundle.extractall(into)
            archive.unlink()

    def _apt(self) -> list[str]:
        place = self.folder / "apt"
        architectures = ",".join(self.pins["debian"]["architectures"])
        settings = {
            "Dir::State::Lists": place / "lists",
            "Dir::Cache": place / "cache",
            "APT::Architectures": architectures,
            "APT::Sandbox::User": "root",
        }
        return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]

    def _apt_update(self) -> None:
        place = self.folder / "apt"
        if self.offline or (place / "lists").exists():
            return
        (place / "lists" / "partial").mkdir(parents=True)
        (place / "cache" / "archives" / "partial").mkdir(parents=True)
        # Sources that have no such architecture make it complain; what matters is whether the downloads work.
        subprocess.run(["apt-get", *self._apt(), "update"], capture_output=True, timeout=300, check=False)

    def _deb(self, spec: str, into: Path) -> None:
        package, _, architecture = spec.partition(":")
        archives = self.folder / "apt" / "debs"
        archives.mkdir(exist_ok=True)
        if not list(archives.glob(f"{package}_*_{architecture}.deb")):
            # All architectures at once: most of the time goes into reading the lists of packages.
            specs = [f"{package}:{other}" for other in self.pins["debian"]["architectures"]]
            _run(["apt-get", *self._apt(), "download", *specs], cwd=archives)
        for archive in archives.glob(f"{package}_*_{architecture}.deb"):
            _run(["dpkg-deb", "-x", archive, into])

    def _build(self, target: str, into: Path) -> None:
        os_name, architecture, *variant = target.split("/")
        (into / "main.go").write_text(GO_PROGRAM)
        (into / "go.mod").write_text("module example.org/hello\n\ngo 1.18\n")
        environment = {"GOOS": os_name, "GOARCH": architecture, "CGO_ENABLED": "0"}
        if variant:
            environment["GOARM"] = variant[0]
        _run(["go", "build", "-o", "hello", "."], cwd=into, environment=environment)


def _run(command: list[str | Path], cwd: Path | None = None, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise subprocess.SubprocessError(done.stderr.strip()[-300:] or f"exit status {done.returncode}")


def _assemble(text: Path) -> None:
    # Test data is sometimes meant to be refused; what wasm-tools cannot assemble is not a program.
    target = text.with_suffix(".assembled.wasm")
    subprocess.run([WASM_TOOLS, "parse", text, "-o", target], capture_output=True, timeout=60, check=False)


def _is_program(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"\0asm", b"\x7fELF")


# --- what packages' names say of platforms ------------------------------------------------------------------------

_NPM = {
    "x64": "amd64", "arm64": "arm64", "arm": "arm", "ia32": "386", "riscv64": "riscv64", "ppc64": "ppc64le",
    "s390x": "s390x", "mips64el": "mips64le", "loong64": "loong64",
}  # fmt: skip
_DEBIAN = {
    "amd64": "amd64", "arm64": "arm64", "armel": "arm/v5", "armhf": "arm/v7", "i386": "386", "mips64el": "mips64le",
    "ppc64el": "ppc64le", "s390x": "s390x",
}  # fmt: skip
_WHEELS = {
    "*_x86_64": "amd64", "*_aarch64": "arm64", "*_armv7l": "arm/v7", "*_i686": "386", "*_ppc64le": "ppc64le",
    "*_s390x": "s390x",
}  # fmt: skip


def _npm_platform(spec: str) -> str | None:
    if not spec.startswith("@esbuild/"):
        return None
    os_name, _, machine = spec.removeprefix("@esbuild/").partition("@")[0].partition("-")
    return f"{os_name}/{_NPM[machine]}"


def _wheel_platform(tag: str) -> str:
    return "linux/" + next(word for pattern, word in _WHEELS.items() if fnmatch.fnmatch(tag, pattern))


def _debian_platform(architecture: str) -> str:
    return f"linux/{_DEBIAN[architecture]}"


def _go_platform(target: str) -> str | None:
    os_name, architecture, *variant = target.split("/")
    if architecture == "wasm":
        return None
    return f"{os_name}/{architecture}" + (f"/v{variant[0][0]}" if variant else "")
