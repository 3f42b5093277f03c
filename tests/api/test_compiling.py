"""Sources become images by the real toolchains; every program that was built is run, and says what it should."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ocibuild
from ocibuild.api.extract import extract
from ocibuild.api.pack import Packed
from ocibuild.api.session import Session
from ocibuild.content.flow import Event
from ocibuild.errors import ToolError
from ocibuild.run.engine import host

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
HOST = str(host())
GREETING = "Hello, Docker!\nargument: one\n"
Part = Callable[[str], str]
pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images go into an empty folder, and what a developer's shell says of toolchains does not count."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("CARGO", "RUSTC", "RUSTFLAGS", "GOFLAGS", "CFLAGS", "LDFLAGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOTOOLCHAIN", "local")


def sources(name: str, place: Path) -> Path:
    """A sample's sources in a folder of their own, without what was built of them."""
    return Path(shutil.copytree(SAMPLES / name, place, ignore=shutil.ignore_patterns("target", "node_modules")))


def built(folder: Path, *platforms: str, **said: Any) -> tuple[Packed, list[str]]:
    """The image, and what the toolchains printed."""
    events: list[Event] = []
    packed = ocibuild.build(folder, platforms=platforms, session=Session(observe=events.append), **said)
    return packed, [event.text for event in events if event.kind == "output"]


def says(packed: Packed, platform: str = "wasi/wasm", *arguments: str) -> str:
    """What the image's program prints, started by the command line."""
    place = packed.references[0].partition("@")[0]
    source = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from ocibuild.cli import main; main()"
    words = [sys.executable, "-c", source, "run", "-q", place, "--platform", platform, "--", *(arguments or ("one",))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def emulated(packed: Packed, platform: str, machine: str, part: Part) -> str:
    """What the image's program for another machine prints, under qemu."""
    place = packed.references[0].partition("@")[0]
    program = Path(extract(place, output="foreign", platform=platform).path)
    program.chmod(0o755)
    words = [part(f"qemu-{machine}"), str(program), "one"]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


# -- Rust: Debian's, which has a target for Wasm; rustup's would have to fetch it


@pytest.fixture
def rust(part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARGO", part("/usr/bin/cargo"))
    monkeypatch.setenv("RUSTC", part("/usr/bin/rustc"))
    monkeypatch.setenv("CARGO_HOME", str(tmp_path / "cargo"))


@pytest.mark.usefixtures("rust")
def test_rust_becomes_wasm_and_a_static_binary_of_one_digest_everywhere(tmp_path: Path) -> None:
    folder = sources("rust/hello-docker", tmp_path / "a")
    packed, printed = built(folder, f"{HOST},wasi/wasm")
    assert any("wasi/wasm | " in line and "Compiling hello-docker" in line for line in printed)
    assert packed.references[0].startswith("oci:hello-docker.oci@")
    assert says(packed) == says(packed, HOST) == GREETING
    again, printed = built(folder, f"{HOST},wasi/wasm")
    assert again.digest == packed.digest
    assert not any("Compiling" in line for line in printed), "nothing changed, and it was compiled again"
    elsewhere, _ = built(sources("rust/hello-docker", tmp_path / "b" / "else where"), f"{HOST},wasi/wasm")
    assert elsewhere.digest == packed.digest


@pytest.mark.usefixtures("rust")
def test_rust_that_does_not_compile_says_why(tmp_path: Path) -> None:
    folder = sources("rust/hello-docker", tmp_path / "a")
    (folder / "src" / "main.rs").write_text("fn main() { missing() }\n")
    with pytest.raises(ToolError) as caught:
        built(folder)
    assert caught.value.code == "build-failed"
    assert "cannot find function `missing`" in caught.value.__notes__[0]
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.usefixtures("rust")
def test_a_workspace_of_several_binaries(tmp_path: Path) -> None:
    sources("rust/hello-docker", tmp_path / "work" / "hello")
    other = tmp_path / "work" / "other"
    (other / "src").mkdir(parents=True)
    (other / "Cargo.toml").write_text('[package]\nname = "other"\nversion = "0.1.0"\nedition = "2021"\n')
    (other / "src" / "main.rs").write_text('fn main() { println!("other") }\n')
    (tmp_path / "work" / "Cargo.toml").write_text('[workspace]\nmembers = ["hello", "other"]\n')
    with pytest.raises(ocibuild.UsageError, match="2 programs: hello-docker, other") as caught:
        built(tmp_path / "work")
    assert caught.value.code == "program-needed"
    packed, _ = built(tmp_path / "work", program="other")
    assert says(packed) == "other\n"
    packed, _ = built(other)
    assert packed.artifacts[0].name == "other.wasm"


# -- Go


def test_go_becomes_wasm_and_static_binaries_of_one_digest_everywhere(part: Part, tmp_path: Path) -> None:
    part("go")
    wanted = f"wasi/wasm,{HOST},linux/arm64"
    packed, _ = built(sources("go/hello", tmp_path / "a"), wanted)
    assert packed.references[0].startswith("oci:hello.oci@")
    assert says(packed) == says(packed, HOST) == GREETING
    assert emulated(packed, "linux/arm64", "aarch64", part) == GREETING
    elsewhere, _ = built(sources("go/hello", tmp_path / "b" / "else where"), wanted)
    assert elsewhere.digest == packed.digest


def test_go_that_links_c_is_told_what_to_do(part: Part, tmp_path: Path) -> None:
    part("go")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "go.mod").write_text("module example.com/a\n\ngo 1.21\n")
    (tmp_path / "a" / "main.go").write_text('package main\n\nimport "C"\n\nfunc main() {}\n')
    with pytest.raises(ocibuild.OcibuildError, match="files that import C, and none that go without") as caught:
        built(tmp_path / "a", HOST)
    assert caught.value.code == "sources-invalid"


# -- C and Zig


@pytest.fixture
def zig(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """zig builds the C library of each target once; what is kept of it is kept from run to run."""
    program = Path(part("zig")).resolve()
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(program.parent / "cache"))


@pytest.mark.usefixtures("zig")
def test_c_becomes_wasm_and_a_static_binary_of_one_digest_everywhere(tmp_path: Path) -> None:
    wanted = f"wasi/wasm,{HOST}"
    packed, _ = built(sources("c", tmp_path / "a"), wanted)
    assert packed.references[0].startswith("oci:hello.oci@")
    assert says(packed) == says(packed, HOST) == GREETING
    folder = sources("c", tmp_path / "b" / "else where")
    elsewhere, _ = built(folder, wanted)
    assert elsewhere.digest == packed.digest
    (folder / "hello.c").write_text('#include <stdio.h>\nint main() { puts(__DATE__ " " __FILE__); }\n')
    with pytest.raises(ToolError) as caught:
        built(folder, HOST)
    assert "not reproducible" in caught.value.__notes__[0]
    dated, _ = built(folder, HOST, created="1700000000", tool_args=["-Wno-error=date-time"])
    assert says(dated, HOST) == "Nov 14 2023 hello.c\n"


@pytest.mark.usefixtures("zig")
def test_zig_build_becomes_wasm(tmp_path: Path) -> None:
    folder = sources("zig/hello", tmp_path / "a")
    packed, _ = built(folder)
    assert packed.references[0].startswith("oci:hello.oci@")
    assert says(packed) == GREETING
    assert not (folder / "zig-out").exists()


# -- AssemblyScript, JavaScript, Python


def test_assemblyscript_becomes_a_module_of_one_digest_everywhere(part: Part, tmp_path: Path) -> None:
    modules = Path(part("asc")).resolve().parents[2]
    digests = set()
    for name in ("a", "b c"):
        folder = sources("assemblyscript/hello", tmp_path / name)
        (folder / "node_modules").symlink_to(modules)
        packed, _ = built(folder)
        assert says(packed) == GREETING
        digests.add(packed.digest)
    assert len(digests) == 1


def test_assemblyscript_without_the_shim_is_told_what_to_do(part: Part, tmp_path: Path) -> None:
    part("asc")
    folder = sources("assemblyscript/hello", tmp_path / "a")
    (folder / "assembly" / "index.ts").write_text("export function add(a: i32, b: i32): i32 { return a + b; }\n")
    with pytest.raises(ocibuild.InputError) as caught:
        built(folder)
    assert caught.value.code == "not-a-command"
    assert "@assemblyscript/wasi-shim" in (caught.value.hint or "")


def test_javascript_becomes_a_component(part: Part, tmp_path: Path) -> None:
    part("componentize-js")
    packed, _ = built(sources("javascript/hello", tmp_path / "a"), "wasip2/wasm")
    assert packed.artifacts[0].kind == "component"
    assert says(packed, "wasip2/wasm") == GREETING


def test_python_becomes_a_component(part: Part, tmp_path: Path) -> None:
    part("componentize-py")
    packed, _ = built(sources("python/hello", tmp_path / "a"))
    assert packed.artifacts[0].kind == "component"
    assert packed.references[0].startswith("oci:hello.oci@")
    assert says(packed) == GREETING
