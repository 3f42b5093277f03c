"""`ocibuild build` of sources from outside, with a toolchain that only pretends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ocibuild.spec.schema import validate
from tests.cli.conftest import Ran
from tests.source.toolchains.fakes import GO, Fakes
from tests.source.toolchains.fakes import module as make_module

Run = Callable[..., Ran]


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(tmp_path / "fakes")


@pytest.fixture
def module(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Go module in the current folder, which is otherwise empty."""
    place = make_module(fakes, fakes.folder.parent / "here")
    monkeypatch.setenv("PATH", str(fakes.bin))
    monkeypatch.setenv("FAKE_LIST", fakes.environ["FAKE_LIST"])
    monkeypatch.chdir(place)
    return place


@pytest.mark.usefixtures("module")
def test_sources_are_built_and_the_road_is_told(run: Run) -> None:
    ran = run("build", "--platform", "wasi/wasm,linux/amd64")
    assert ran.status == 0
    assert ran.out.startswith("oci:hello.oci@sha256:")
    assert ran.out.count("\n") == 1
    lines = ran.err.splitlines()
    assert lines[0] == "building hello from its Go sources for wasi/wasm, linux/amd64"
    assert sorted(lines[1:3]) == ["linux/amd64 | # compiling", "wasi/wasm | # compiling"]
    assert lines[3] == "built hello.wasm for wasi/wasm: a module of WASI preview1, command, 69551 bytes"


@pytest.mark.usefixtures("module")
def test_what_pack_takes_is_taken_for_sources(run: Run) -> None:
    config = 'schema = 1\n[targets.a]\ntags = ["localhost:5000/hello:1"]\nlabel = { team = "blue" }\n[targets.b]\nplatform = ["linux/arm64", "linux/amd64"]\n'
    Path("ocibuild.toml").write_text(config)
    ran = run(
        "build", "--config", "ocibuild.toml", "--target", "a", "-o", "one.tar", "--env", "A=1", "--nonroot", "--json"
    )
    document = json.loads(ran.out)
    assert document["inputs"] == [{"path": "hello.wasm", "kind": "module", "size": 69551}]
    assert document["image.name"] == "localhost:5000/hello:1"
    said = json.loads(run("config", "one.tar").out)["config"]
    assert (said["Labels"]["team"], said["User"]) == ("blue", "65532:65532")
    assert "A=1" in said["Env"]
    both = json.loads(run("build", "--config", "ocibuild.toml", "--target", "b", "-o", "b.oci", "--json").out)
    assert [entry["kind"] for entry in both["inputs"]] == ["elf", "elf"]
    one = run("build", "--config", "ocibuild.toml", "--target", "b", "--platform", "wasi/wasm", "-o", "c.oci", "--json")
    assert [entry["kind"] for entry in json.loads(one.out)["inputs"]] == ["module"]
    artifact = run("build", "--format", "artifact", "--dry-run", "--json")
    assert artifact.status == 0


@pytest.mark.usefixtures("module")
def test_quiet_says_nothing_until_it_fails(run: Run, fakes: Fakes) -> None:
    assert run("build", "-q").err == ""
    fakes.program("go", 'if words[0] == "build": print("main.go:3: undefined: x"); sys.exit(2)\n' + GO)
    ran = run("build", "-q")
    assert ran.status == 1
    assert ran.err.splitlines() == [
        "main.go:3: undefined: x",
        "error: go ended with status 2 when it built hello for wasi/wasm [build-failed]",
        "  hint: what it printed says why",
    ]
    loud = run("build")
    assert loud.err.count("undefined: x") == 1


@pytest.mark.usefixtures("module")
def test_lines_of_compilers_are_events_of_progress(run: Run) -> None:
    ran = run("build", "--progress", "json")
    events = [json.loads(line) for line in ran.err.splitlines()]
    assert [event["text"] for event in events if event["event"] == "output"] == ["# compiling"]
    for event in events:
        validate(event, "progress")


@pytest.mark.usefixtures("module")
def test_a_language_that_is_none_is_wrong_usage(run: Run) -> None:
    assert run("build", "--language", "cobol").status == 2
    assert run("build", "-f", "Dockerfile", "--language", "go").status == 2
