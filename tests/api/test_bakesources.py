"""Build targets in a second bake: built again only where something they depend on is otherwise, and never believed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ocibuild
from ocibuild import Session
from ocibuild.api.bake import Baked, Image, bake
from ocibuild.content.flow import Event
from tests.registry.double import Registry
from tests.source.test_engine import Stage

MODULE = b"\0asm\1\0\0\0"
SAMPLES = Path(__file__).parents[2] / "samples"
Part = Callable[[str], str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a cache of its own beside it, and nothing of a developer's shell."""
    (tmp_path / "here").mkdir()
    for name in ("CARGO", "RUSTC", "RUSTFLAGS", "GOFLAGS", "CPPFLAGS", "CFLAGS", "CXXFLAGS", "LDFLAGS", "CPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOTOOLCHAIN", "local")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


def config(text: str) -> None:
    Path("ocibuild.toml").write_text(f"schema = 1\n[targets.app]\n{text}\n")


def once(**said: object) -> Image:
    """What becomes of the one target."""
    done: Baked = bake(**said)  # type: ignore[arg-type]
    assert done.images[-1].error is None, done.images[-1].error
    return done.images[-1]


# --- a Dockerfile


def dockerfile(text: str) -> None:
    config('build = "app"\nplatform = ["wasi/wasm"]')
    Path("app").mkdir(exist_ok=True)
    Path("app/main.wasm").write_bytes(MODULE)
    Path("app/Dockerfile").write_text(text)


SCRATCH = 'FROM scratch\nCOPY main.wasm /\nENTRYPOINT ["/main.wasm"]\n'


def test_a_dockerfile_is_built_again_only_where_its_image_would_be_another() -> None:
    dockerfile(SCRATCH)
    first = once()
    Path("app/README").write_text("nothing copies this")
    again = once()
    assert (first.state, again.state) == ("made", "cached")
    assert (again.digest, again.references) == (first.digest, first.references)
    assert once(no_cache=True).state == "made"
    Path("app/main.wasm").write_bytes(MODULE + b"\0\2\1x")
    assert once().state == "made"
    dockerfile(SCRATCH.replace('ENTRYPOINT ["/main.wasm"]', 'ENTRYPOINT ["/main.wasm", "-v"]'))
    assert once().state == "made"
    config('build = "app"\nplatform = ["wasi/wasm"]\nlabel = { a = "b" }')
    assert once().state == "made"
    assert once().state == "cached"


def test_what_bake_writes_is_no_part_of_what_it_builds() -> None:
    dockerfile(SCRATCH.replace("COPY main.wasm /", "COPY . /app/"))
    shutil.move("app/Dockerfile", "Dockerfile")
    shutil.move("app/main.wasm", "main.wasm")
    config('build = "."\nplatform = ["wasi/wasm"]')
    for output in (None, "out", "oci:all.oci"):
        first = once(output=output)
        assert once(output=output).state == "cached"
        assert once(output=output).digest == first.digest
        shutil.rmtree((output or "oci:bake.oci").removeprefix("oci:"))


def test_an_image_that_is_gone_is_built_again() -> None:
    dockerfile(SCRATCH)
    first = once()
    for blob in Path("bake.oci/blobs/sha256").iterdir():
        blob.unlink()
    again = once()
    assert (again.state, again.digest) == ("made", first.digest)
    assert len(list(Path("bake.oci/blobs/sha256").iterdir())) == 3


def test_images_that_it_begins_with_are_asked_for_and_not_fetched_again(registry: Registry) -> None:
    base = Path("base.wasm")
    base.write_bytes(MODULE)
    name = f"{registry.host}/base:1"

    def push(**said: object) -> None:
        ocibuild.pack(base, tags=[name], push=True, output="oci:base.oci", **said)  # type: ignore[arg-type]

    push()
    dockerfile(f"FROM {name}\nCOPY main.wasm /\n")
    first = once()
    registry.seen.clear()
    assert once().state == "cached"
    assert {request.method for request in registry.seen} <= {"HEAD", "GET"}
    assert not any("/blobs/" in request.path for request in registry.seen), "a layer was fetched to find nothing to do"
    Path("app/README").write_text("nothing copies this")
    assert once().state == "cached"
    push(label={"of": "another"})
    again = once()
    assert again.state == "made"
    assert again.digest != first.digest


def test_an_argument_of_the_environment_counts_and_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ocibuild.pack(_module("base.wasm"), output="oci:base.oci:1")
    dockerfile("ARG WHAT\nFROM base\nARG WHAT\nCOPY main.wasm /\nLABEL what=$WHAT\n")
    config(
        'build = "app"\nplatform = ["wasi/wasm"]\nbuild-context = { base = "oci:base.oci:1" }\nbuild-arg = { WHAT = "${what}" }'
    )
    text = Path("ocibuild.toml").read_text() + '[vars]\nwhat = { env = "WHAT" }\n'
    Path("ocibuild.toml").write_text(text)
    monkeypatch.setenv("WHAT", "hunter2")
    assert [once().state, once().state] == ["made", "cached"]
    monkeypatch.setenv("WHAT", "hunter3")
    assert once().state == "made"
    kept = [path.read_text() for path in (tmp_path / "cache").rglob("*.json")]
    assert kept
    assert not any("hunter" in text for text in kept)


def _module(name: str) -> str:
    Path(name).write_bytes(MODULE)
    return name


def test_what_an_engine_runs_is_run_each_time_and_said(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "stage")
    stage.hands_over("buildah")
    dockerfile("FROM rust AS build\nRUN cargo build\nFROM scratch\nCOPY --from=build /hello.wasm /main.wasm\n")
    first = once(session=stage.session)
    told = len((stage.folder / "buildah.told").read_text())
    again = once(session=stage.session)
    assert len((stage.folder / "buildah.told").read_text()) > told
    assert again.digest == first.digest
    assert again.state == "cached", "the same came of it, and nothing was written"
    assert any("built each time" in note and "buildah" in note for note in again.notes)


# --- sources, by toolchains that are there


def told(session: list[Event]) -> list[str]:
    return [event.text for event in session if event.text.startswith("app: building")]


def sources(name: str) -> Path:
    config('build = "app"')
    return Path(shutil.copytree(SAMPLES / name, "app", ignore=shutil.ignore_patterns("target", "node_modules")))


def baked(**said: object) -> tuple[Image, bool]:
    """What becomes of the one target, and whether a toolchain built something for it."""
    events: list[Event] = []
    image = once(session=Session(observe=events.append), **said)
    return image, bool(told(events))


def unchanged(first: Image, again: tuple[Image, bool]) -> bool:
    image, was_built = again
    assert image.digest == first.digest
    return image.state == "cached" and not was_built


@pytest.mark.real
def test_rust(part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARGO", part("/usr/bin/cargo"))
    monkeypatch.setenv("RUSTC", part("/usr/bin/rustc"))
    monkeypatch.setenv("CARGO_HOME", str(tmp_path / "cargo"))
    app = sources("rust/hello-docker")
    first, was_built = baked()
    assert was_built
    assert first.notes == ()
    assert unchanged(first, baked())
    os.utime(app / "src" / "main.rs")
    assert unchanged(first, baked()), "no time of a file decides"
    assert baked(no_cache=True)[1]
    (app / "target").rename(tmp_path / "target")
    assert unchanged(first, baked()), "what cargo keeps is none of the sources"
    monkeypatch.setenv("RUSTFLAGS", "-C debuginfo=0")
    assert baked()[1]
    monkeypatch.delenv("RUSTFLAGS")
    source = app / "src" / "main.rs"
    source.write_text(source.read_text().replace("Hello", "HELLO"))
    again, was_built = baked()
    assert was_built
    assert again.digest != first.digest
    shutil.rmtree("bake.oci")
    assert baked()[0].state == "made"


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("src/main.rs", 'fn main() { println!("{:?}", option_env!("STAMP")) }\n', "STAMP"),
        ("src/main.rs", 'fn main() { println!("{}", include_str!("../../other.txt")) }\n', "other.txt"),
        ("build.rs", "fn main() {}\n", "build script"),
    ],
)
def test_rust_that_reads_what_is_none_of_its_sources(
    name: str, text: str, said: str, part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARGO", part("/usr/bin/cargo"))
    monkeypatch.setenv("RUSTC", part("/usr/bin/rustc"))
    monkeypatch.setenv("CARGO_HOME", str(tmp_path / "cargo"))
    app = sources("rust/hello-docker")
    Path("other.txt").write_text("one")
    (app / name).write_text(text)
    first, _ = baked()
    assert said in first.notes[0]
    again, was_built = baked()
    assert was_built
    assert again.state == "cached", "cargo had nothing to do, and the same came of it"
    Path("other.txt").write_text("two")
    monkeypatch.setenv("STAMP", "two")
    assert (baked()[0].digest != first.digest) is (name == "src/main.rs")


@pytest.mark.real
def test_go_with_a_module_beside_it(part: Part, tmp_path: Path) -> None:
    part("go")
    app = sources("go/hello")
    shutil.move(app / "main.go", app / "hello.go")
    text = (app / "hello.go").read_text().replace("package main", 'package main\n\nimport _ "example.com/beside"', 1)
    (app / "hello.go").write_text(text)
    with (app / "go.mod").open("a") as file:
        file.write("\nrequire example.com/beside v0.0.0\nreplace example.com/beside => ../beside\n")
    Path("beside").mkdir()
    Path("beside/go.mod").write_text("module example.com/beside\n\ngo 1.21\n")
    Path("beside/beside.go").write_text('package beside\n\nfunc init() { println("one") }\n')
    first, was_built = baked()
    assert was_built
    assert first.notes == ()
    assert unchanged(first, baked())
    Path("beside/beside.go").write_text('package beside\n\nfunc init() { println("two") }\n')
    again, was_built = baked()
    assert was_built
    assert again.digest != first.digest


@pytest.mark.real
def test_c_whose_headers_are_its_own(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Path(part("zig")).resolve()
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(program.parent / "cache"))
    app = sources("c")
    (app / "hello.h").write_text('#define WHAT "one"\n')
    (app / "hello.c").write_text('#include <stdio.h>\n#include "hello.h"\nint main() { puts(WHAT); }\n')
    first, _ = baked()
    assert first.notes == ()
    assert unchanged(first, baked())
    (app / "hello.h").write_text('#define WHAT "two"\n')
    assert baked()[0].digest != first.digest
    Path("other.h").write_text('#define WHAT "three"\n')
    (app / "hello.h").write_text('#include "../other.h"\n')
    assert "other.h" in baked()[0].notes[0]
    assert baked()[1]


@pytest.mark.real
def test_assemblyscript_with_its_compiler_beside_it(part: Part) -> None:
    modules = Path(part("asc")).resolve().parents[2]
    app = sources("assemblyscript/hello")
    (app / "node_modules").symlink_to(modules)
    assert "node_modules" in baked()[0].notes[0]
    (app / "node_modules").unlink()
    shutil.copytree(modules, app / "node_modules", symlinks=True)
    first, _ = baked()
    assert first.notes == ()
    assert unchanged(first, baked())
    entry = app / "assembly" / "index.ts"
    entry.write_text(entry.read_text().replace("Hello", "HELLO"))
    assert baked()[0].digest != first.digest
