"""`ocibuild build` from outside."""

from __future__ import annotations

import io
import json
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
