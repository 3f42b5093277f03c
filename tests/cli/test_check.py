"""`ocibuild check` on several files, as pre-commit calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Ran


def test_several_files_are_each_looked_at(run: Callable[..., Ran], folder: Path) -> None:
    ran = run("check", "hello.wasm", "component.wasm", "--for", "podman")
    assert ran.status == 3
    lines = [line for line in ran.out.splitlines() if not line.startswith("  cure")]
    assert lines
    assert {line.partition(":")[0] for line in lines} <= {"hello.wasm", "component.wasm"}
    documents = json.loads(run("check", "hello.wasm", "component.wasm", "--json").out)
    assert [one["what"] for one in documents] == ["hello.wasm", "component.wasm"]
    assert json.loads(run("check", "hello.wasm", "--json").out)["what"] == "hello.wasm"
