"""`ocibuild build` from outside."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran

Run = Callable[..., Ran]


def test_the_result_stands_alone_and_warnings_go_to_stderr(run: Run, folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY hello.wasm /\n")
    ran = run("build", "-o", "one.oci", ".")
    assert ran.status == 0
    assert ran.out.startswith("oci:one.oci@sha256:")
    assert ran.out.count("\n") == 1
    assert "the image starts nothing" in ran.err
    cured = run("build", "-o", "one.oci", "--entrypoint", "/hello.wasm", "--iidfile", "id")
    assert "starts nothing" not in cured.err
    assert cured.out.strip().endswith((folder / "id").read_text())


def test_a_dry_run_writes_nothing_and_json_has_the_notes(run: Run, folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY hello.wasm /\n")
    ran = run("build", "--dry-run", "--json")
    document = json.loads(ran.out)
    assert document["notes"] == ["the image starts nothing: add ENTRYPOINT to the Dockerfile, or --entrypoint"]
    assert [entry["kind"] for entry in document["inputs"]] == ["module"]
    assert len(document["blobs"]) == 3
    assert not list(folder.glob("*.oci"))


def test_an_error_names_line_reason_and_cure(run: Run, folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM rust AS build\nRUN cargo build\nFROM scratch\nCOPY --from=build /x /\n")
    ran = run("build", "--platform", "wasi/wasm", "--engine", "none")
    assert ran.status == 1
    assert ran.out == ""
    assert "error: Dockerfile line 2: RUN in stage build needs an engine, and there is none [stage-unbuilt]" in ran.err
    assert "--build-context build=DIR" in ran.err


def test_a_dockerfile_may_come_from_stdin(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(text: bytes, *words: str) -> Ran:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
        return run("build", "-f", "-", *words)

    text = b'FROM scratch\nCOPY hello.wasm /\nENTRYPOINT ["/hello.wasm"]\n'
    ran = typed(text, "-o", "one.oci")
    assert ran.status == 0, ran.err
    (folder / "Dockerfile").write_bytes(text)
    assert run("build", "-o", "one.oci").out == ran.out
    wrong = typed(b"FROM scratch\nCOPPY a b\n", "-o", "two.oci")
    assert "error: Dockerfile line 2: unknown instruction COPPY" in wrong.err
    both = typed(text, "-t", "localhost:1/a", "--username", "me", "--password-stdin")
    assert both.status == 2
    assert "both read stdin" in both.err


# --- a target of a config file

CONFIG = """
schema = 1
[vars]
of = { default = "nobody", env = "OF" }
[targets.fn]
build = "app"
dockerfile = "app/Other"
target = "one"
build-arg = { WHAT = "toml", ALSO = "${of}" }
platform = ["wasi/wasm"]
tags = ["localhost:5000/fn:1"]
[targets.files]
files = ["hello.wasm"]
[targets.two]
build = "app"
dockerfile = "app/Takes"
"""


def configured() -> None:
    Path("app").mkdir()
    Path("app/hello.wasm").write_bytes(b"\0asm\1\0\0\0")
    Path("app/Other").write_text(
        "FROM scratch AS one\nARG WHAT\nARG ALSO\nCOPY hello.wasm /\nLABEL what=$WHAT also=$ALSO\nFROM scratch\nCOPY none /\n"
    )
    Path("app/Takes").write_text("FROM scratch\nCOPY --from=target:fn /hello.wasm /\n")
    Path("ocibuild.toml").write_text(CONFIG)


def labels(run: Run, place: str) -> object:
    return json.loads(run("config", place).out)["config"]["Labels"]


@pytest.mark.usefixtures("folder")
def test_a_target_says_its_folder_stage_and_arguments(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    configured()
    monkeypatch.setenv("OF", "everybody")
    ran = run("build", "--config", ".", "--target", "fn", "-o", "fn.oci")
    assert ran.status == 0, ran.err
    assert labels(run, "oci:fn.oci:1") == {"what": "toml", "also": "everybody"}
    shutil.copytree("app", "said")
    Path("app/hello.wasm").unlink()
    ran = run("build", "said", "--config", ".", "--target", "fn", "--build-arg", "WHAT=flag", "-o", "said.oci")
    assert ran.status == 0, ran.err
    assert labels(run, "oci:said.oci:1") == {"what": "flag", "also": "everybody"}, "tables merge, and the flag is above"


@pytest.mark.usefixtures("folder")
def test_targets_that_build_cannot_make_alone_are_told_what_does(run: Run) -> None:
    configured()
    ran = run("build", "--config", ".", "--target", "files")
    assert ran.status == 2
    assert "ocibuild pack --config . --target files" in ran.err
    ran = run("build", "--config", ".", "--target", "two")
    assert ran.status == 2
    assert "ocibuild bake two" in ran.err
    ran = run("build", "--config", ".", "--target", "none")
    assert ran.status == 2
    assert "config-target-unknown" in ran.err or "no target" in ran.err
