"""`ocibuild init`: what it writes is what `bake --check` accepts, and nothing that is there is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran

Run = Callable[..., Ran]
SAMPLES = Path(__file__).parents[2] / "samples"
MODULE = b"\0asm\1\0\0\0"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder called `project`."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def written(run: Run, *words: str) -> dict[str, Any]:
    """The targets of the file that comes of it, which passes the check."""
    ran = run("init", *words)
    assert (ran.status, ran.out) == (0, "ocibuild.toml\n"), ran.err
    checked = run("bake", "--check")
    assert checked.status == 0, checked.err
    document = tomllib.loads(Path("ocibuild.toml").read_text(encoding="utf-8"))
    assert document["schema"] == 1
    targets: dict[str, Any] = document["targets"]
    return targets


def put(path: str, data: str | bytes = "") -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data if isinstance(data, bytes) else data.encode())


def test_everything_in_the_samples_becomes_a_target(run: Run, place: Path) -> None:
    shutil.copytree(SAMPLES, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("target", "node_modules"))
    targets = written(run)
    builds = {table["build"] for table in targets.values() if "build" in table}
    languages = {
        "assemblyscript/hello",
        "go/hello",
        "javascript/hello",
        "python/hello",
        "rust/hello-docker",
        "zig/hello",
    }
    assert languages | {".", "c", "http"} == builds
    assert targets["hello"]["files"] == ["hello-linux-amd64", "hello-linux-arm64", "hello.wasm"]
    assert targets["hello-docker-wasm"]["dockerfile"] == "rust/hello-docker/Dockerfile-wasm"
    assert {"assemblyscript-hello", "go-hello", "zig-hello"} <= set(targets)


def test_what_it_writes_of_programs_is_made(run: Run, place: Path) -> None:
    for name in ("hello.wasm", "hello-linux-amd64", "hello-linux-arm64"):
        shutil.copy(SAMPLES / name, place)
    put("filters/one.wasm", MODULE)
    assert set(written(run)) == {"hello", "one"}
    done = run("bake", "--json")
    made = json.loads(done.out)["targets"]
    assert list(made) == ["one", "hello"] or list(made) == ["hello", "one"]
    assert len(json.loads(run("manifest", "oci:bake.oci:hello").out)["manifests"]) == 3


def test_many_modules_are_one_table(run: Run, place: Path) -> None:
    for number in range(12):
        put(f"artifacts/fn{number}.wasm", MODULE)
    targets = written(run)
    assert targets == {"${stem}": {"each": "artifacts/*.wasm"}}
    printed = json.loads(run("bake", "--print").out)
    assert set(printed["targets"]) == {f"fn{number}" for number in range(12)}


@pytest.mark.parametrize(
    "files, targets",
    [
        (
            {"go.mod": "module m\n", "lib.go": "package lib\n", "cmd/a/a.go": "package main\n", "cmd/b/b.go": "package main\n"},
            {"a": "cmd/a", "b": "cmd/b"},
        ),
        (
            {
                "Cargo.toml": '[workspace]\nmembers = ["one", "two"]\n',
                "one/Cargo.toml": '[package]\nname = "first"\n',
                "one/src/main.rs": "",
                "two/Cargo.toml": '[package]\nname = "second"\n',
                "two/src/bin/x.rs": "",
                "two/src/bin/y/main.rs": "",
                "three/Cargo.toml": '[package]\nname = "library"\n',
                "three/src/lib.rs": "",
                "target/wasm32-wasip1/release/first.wasm": MODULE,
            },
            {"first": "one", "x": "two", "y": "two"},
        ),
        ({"asconfig.json": "{}", "build/release.wasm": MODULE, "package.json": "{}"}, {"project": "."}),
        ({"Makefile": "", "main.c": "int main() {}", "out/it.wasm": MODULE, "deep/go.mod": "module m", "deep/m.go": "package main"}, None),
    ],
    ids=["go", "rust", "assemblyscript", "c with a Makefile"],
)  # fmt: skip
def test_programs_are_found_where_their_language_keeps_them(
    files: dict[str, str | bytes], targets: dict[str, str] | None, run: Run, place: Path
) -> None:
    for name, data in files.items():
        put(name, data)
    if targets is None:
        ran = run("init")
        assert "[folder-empty]" in ran.err
        assert "Makefile is not run here" in ran.err
        return
    assert {name: table["build"] for name, table in written(run).items()} == targets


def test_several_programs_of_a_crate_are_told_apart(run: Run, place: Path) -> None:
    put("Cargo.toml", '[package]\nname = "tools"\n[[bin]]\nname = "main"\npath = "src/main.rs"\n')
    put("src/main.rs")
    put("src/bin/other.rs")
    assert {name: table["program"] for name, table in written(run).items()} == {"main": "main", "other": "other"}


def test_a_dockerfile_is_what_a_build_of_its_folder_takes(run: Run, place: Path) -> None:
    put("app/Dockerfile", "FROM scratch\nCOPY go.mod /\n")
    put("app/go.mod", "module m\n")
    put("app/main.go", "package main\n")
    ran = run("init")
    assert "app has a Dockerfile and go: the Dockerfile is built" in ran.err
    assert tomllib.loads(Path("ocibuild.toml").read_text())["targets"] == {"app": {"build": "app"}}


def test_what_bake_would_refuse_is_left_out_and_named(run: Run, place: Path) -> None:
    put("good.wasm", MODULE)
    put("cut.wasm", MODULE + b"\1")
    put("docker/Dockerfile", "FROM scratch\nNONSENSE\n")
    ran = run("init")
    assert ran.status == 0
    assert "cut.wasm is passed by" in ran.err
    assert "docker is left out" in ran.err
    assert list(tomllib.loads(Path("ocibuild.toml").read_text())["targets"]) == ["good"]


@pytest.mark.parametrize("name", ["a b", 'quo"te', "${HOME}", "back\\slash", "x=wasi", "st*r", "ünï", "-dash", "a:b"])
def test_strange_names_stay_names_of_files(name: str, run: Run, place: Path) -> None:
    put(f"{name}/{name}.wasm", MODULE)
    (table,) = written(run).values()
    assert table["files"] == [f"{name}/{name}.wasm".replace("$", "$$")]
    assert run("bake").status == 0


def test_names_that_no_text_can_hold_and_loops_are_passed_by(run: Run, place: Path) -> None:
    put("good.wasm", MODULE)
    with open(os.fsencode(place) + b"/\xff.wasm", "wb") as file:
        file.write(MODULE)
    (place / "loop").symlink_to(place)
    os.mkfifo(place / "pipe.wasm")
    assert list(written(run)) == ["good"]


@pytest.mark.parametrize("name", ["ocibuild.toml", "pyproject.toml"])
def test_a_file_that_is_there_is_left_alone(name: str, run: Run, place: Path) -> None:
    put("good.wasm", MODULE)
    text = "schema = 1\n" if name == "ocibuild.toml" else "[tool.ocibuild]\nschema = 1\n"
    put(name, text)
    ran = run("init")
    assert (ran.status, ran.out) == (2, "")
    assert "[config-exists]" in ran.err
    assert Path(name).read_text() == text
    assert sorted(os.listdir()) == sorted({"good.wasm", name})
    assert "[targets.good]" in run("init", "--print").out


def test_a_broken_file_is_no_reason_to_write_over_it(run: Run, place: Path) -> None:
    put("good.wasm", MODULE)
    put("ocibuild.toml", "schema = \n")
    assert "[config-exists]" in run("init").err
    assert Path("ocibuild.toml").read_text() == "schema = \n"


def test_a_pyproject_of_something_else_does_not_mind(run: Run, place: Path) -> None:
    put("pyproject.toml", '[project]\nname = "x"\n')
    put("good.wasm", MODULE)
    assert list(written(run)) == ["good"]


def test_print_writes_nothing(run: Run, place: Path) -> None:
    put("good.wasm", MODULE)
    ran = run("init", "--print")
    assert tomllib.loads(ran.out)["targets"] == {"good": {"files": ["good.wasm"]}}
    assert os.listdir() == ["good.wasm"]
    document = json.loads(run("init", "--print", "--json").out)
    assert document["targets"] == ["good"]
    assert document["text"] == ran.out


def test_a_registry_names_them_all(run: Run, place: Path) -> None:
    put("Good.wasm", MODULE)
    written(run, "--registry", "localhost:5000/demo/")
    printed = json.loads(run("bake", "--print", "--set", "version=3").out)
    assert printed["targets"]["good"]["tags"] == ["localhost:5000/demo/good:3"]


@pytest.mark.parametrize(
    "remote, tag",
    [
        ("git@github.com:Ada/engine.git", "ghcr.io/ada/good:dev"),
        ("https://me:secret@gitlab.com/Group/sub/engine.git", "registry.gitlab.com/group/sub/engine/good:dev"),
    ],
)
def test_git_says_where_they_go(remote: str, tag: str, run: Run, place: Path) -> None:
    put("good.wasm", MODULE)
    _repository(remote)
    written(run, "--git")
    assert json.loads(run("bake", "--print").out)["targets"]["good"]["tags"] == [tag]
    assert "secret" not in Path("ocibuild.toml").read_text()


def test_a_forge_whose_registry_is_not_known_is_asked_for(run: Run, place: Path) -> None:
    put("good.wasm", MODULE)
    _repository("https://git.example.com/ada/engine")
    ran = run("init", "--git")
    assert "[registry-unknown]" in ran.err
    assert "git.example.com" in ran.err
    assert not Path("ocibuild.toml").exists()


def _repository(remote: str) -> None:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for words in (
        ["init", "-q"],
        ["remote", "add", "origin", remote],
        [*who, "commit", "-q", "--allow-empty", "-m", "1"],
    ):
        subprocess.run(["git", *words], check=True, timeout=60)


def test_nothing_found_is_said(run: Run, place: Path) -> None:
    put("README.md", "words")
    put("node_modules/x/x.wasm", MODULE)
    put(".hidden/x.wasm", MODULE)
    ran = run("init")
    assert (ran.status, ran.out) == (1, "")
    assert "[folder-empty]" in ran.err
    assert not Path("ocibuild.toml").exists()
    assert "[file-not-found]" in run("init", "nowhere").err
