"""Stand-ins for toolchains on a private PATH: they note how they were called, and hand out samples as what they built."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ocibuild.ambient import Ambient
from ocibuild.api.session import Session
from ocibuild.content.flow import Cancel, Event

SAMPLES = Path(__file__).parents[3] / "samples"

_PRELUDE = """#!{python}
import json, os, pathlib, shutil, sys, time
SAMPLES, words, env = pathlib.Path({samples!r}), sys.argv[1:], os.environ
with open({log!r}, "a") as log:
    print(json.dumps(dict(name={name!r}, words=words, env=dict(env), folder=os.getcwd())), file=log)
def after(flag):
    return next((b for a, b in zip(words, words[1:]) if a == flag), None)
def writes(path, sample):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(SAMPLES / sample, path)
"""


@dataclass
class Fakes:
    """`program` adds one, whose source sees `words`, `env`, `after`, `writes`; `calls` is how those were called."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def output(self) -> list[str]:
        """The lines that toolchains printed, as they were told."""
        return [event.text for event in self.events if event.kind == "output"]

    def program(self, name: str, source: str = "") -> Path:
        path = self.bin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        prelude = _PRELUDE.format(
            python=sys.executable, samples=str(SAMPLES), log=str(self.folder / "calls"), name=name
        )
        path.write_text(prelude + source, encoding="utf-8")
        path.chmod(0o755)
        return path

    def calls(self, name: str, first: str | None = None) -> list[dict[str, Any]]:
        """Each call of a program (with that first word): `words`, `env`, `folder`."""
        log = self.folder / "calls"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        found = [call for call in map(json.loads, lines) if call["name"] == name]
        return [call for call in found if first is None or call["words"][:1] == [first]]

    def session(self, cancel: Cancel | None = None) -> Session:
        environ = {"PATH": str(self.bin), "HOME": str(self.folder), **self.environ}
        surroundings = Ambient(environ, self.folder, datetime(2026, 1, 1, tzinfo=UTC))
        return Session(surroundings=surroundings, observe=self.events.append, cancel=cancel or Cancel())


GO = """
if words[:3] == ["tool", "dist", "list"]:
    print("\\n".join(env.get("FAKE_TARGETS", "linux/amd64 linux/arm64 linux/arm linux/riscv64 wasip1/wasm js/wasm").split()))
elif words[0] == "list":
    print(env.get("FAKE_LIST", "main\\texample.com/hello\\t" + os.getcwd()))
elif words[0] == "build":
    print("# compiling")
    sample = {"amd64": "hello-linux-amd64", "arm64": "hello-linux-arm64", "wasm": "hello.wasm"}
    writes(after("-o"), sample.get(env["GOARCH"], "hello-linux-amd64"))
"""

RUSTC = """
known = "x86_64-unknown-linux-musl x86_64-unknown-linux-gnu aarch64-unknown-linux-musl aarch64-unknown-linux-gnu"
known += " armv7-unknown-linux-musleabihf wasm32-wasip1 wasm32-wasip2 wasm32-unknown-unknown"
if words == ["--print", "sysroot"]:
    print(env["FAKE_SYSROOT"])
elif words == ["--print", "target-list"]:
    print("\\n".join(env.get("FAKE_KNOWN", known).split()))
else:
    print("rustc 1.95.0\\nhost: x86_64-unknown-linux-gnu")
"""

CARGO = """
if words[0] == "metadata":
    print(env["FAKE_METADATA"])
else:
    triple, name = after("--target"), after("--bin")
    print("   Compiling", name, file=sys.stderr)
    sample = {"wasm32-wasip2": "hello-command.wasm"}.get(triple, "hello.wasm")
    if "linux" in triple:
        sample = "hello-linux-arm64" if triple.startswith("aarch64") else "hello-linux-amd64"
    suffix = "" if "linux" in triple else ".wasm"
    writes(f"{after('--target-dir')}/{triple}/release/{name}{suffix}", sample)
"""


def crate(fakes: Fakes, folder: Path, *binaries: str, targets: tuple[str, ...] = (), **more: Any) -> Path:
    """A crate for the fake cargo, with these binaries, in a Rust with these targets installed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Cargo.toml").write_text("[package]\n")
    sysroot = fakes.folder / "rustup" / "stable"
    for target in targets:
        (sysroot / "lib" / "rustlib" / target / "lib").mkdir(parents=True, exist_ok=True)
    package = {
        "name": "hello",
        "id": "hello",
        "manifest_path": str(folder / "Cargo.toml"),
        "targets": [{"kind": ["bin"], "name": name} for name in binaries or ("hello",)],
        "default_run": None,
        **more,
    }
    document = {
        "packages": [package],
        "workspace_members": ["hello"],
        "workspace_root": str(folder),
        "target_directory": str(folder / "target"),
    }
    fakes.environ |= {"FAKE_SYSROOT": str(sysroot), "FAKE_METADATA": json.dumps(document)}
    for name, source in (("cargo", CARGO), ("rustc", RUSTC), ("rustup", "")):
        fakes.program(name, source)
    return folder


def module(fakes: Fakes, folder: Path, *packages: str) -> Path:
    """A Go module for the fake go, with these main packages (`.`, `cmd/a`)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "go.mod").write_text("module example.com/hello\n")
    rows = [(os.path.normpath(f"example.com/hello/{one}"), folder / one) for one in packages or (".",)]
    fakes.environ["FAKE_LIST"] = "\n".join(f"main\t{path}\t{place}" for path, place in rows)
    fakes.program("go", GO)
    return folder


ZIG = """
if words[0] == "build":
    triple = next(word for word in words if word.startswith("-Dtarget="))
    for name in env.get("FAKE_NAMES", "hello").split():
        wasm = "wasm32" in triple
        sample = "hello-c.wasm" if wasm else "hello-linux-amd64"
        writes(after("--prefix") + "/bin/" + name + (".wasm" if wasm else ""), sample)
else:
    triple = after("-target")
    sample = "hello-linux-arm64" if triple.startswith("aarch64") else "hello-linux-amd64"
    writes(after("-o"), "hello-c.wasm" if triple.startswith("wasm32") else sample)
"""

ASC = 'writes(after("--outFile"), env.get("FAKE_PRODUCT", "hello-c.wasm"))'
JAVASCRIPT = 'writes(after("--out"), env.get("FAKE_PRODUCT", "hello-command.wasm"))'
PYTHON = 'writes(after("--output"), env.get("FAKE_PRODUCT", "hello-command.wasm"))'


def node(fakes: Fakes, folder: Path, name: str, source: str) -> None:
    """A program in the project's node_modules, and Node itself."""
    made = fakes.program(name, source)
    place = folder / "node_modules" / ".bin" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    made.rename(place)
    fakes.program("node")
