"""docs/cookbook.md: every recipe is run as it stands there, with compilers and registries that are real."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.servers import Ocibuild, Part, serving
from tests.test_docs import Block as Fence
from tests.test_docs import commands, shown

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/cookbook.md"
RECIPES = dict(
    re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
)
NEEDS = {
    "Rust": ["cargo"],
    "Go": ["go"],
    "C": ["zig"],
    "AssemblyScript": ["asc"],
    "Python": ["componentize-py"],
    "A filter for Envoy and Istio": ["zig"],
}
pytestmark = pytest.mark.real


@pytest.fixture
def hosts(part: Part, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Two registries of our own, by the ports that the page has."""
    with serving("ocibuild", part, tmp_path / "registry") as one, serving("ocibuild", part, tmp_path / "other") as two:
        yield {"localhost:5000": one.host, "localhost:5001": two.host}


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_does_what_it_says(
    title: str, hosts: dict[str, str], ocibuild: Ocibuild, part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NEEDS.get(title, ()):
        part(name)
    folder = tmp_path / "home"  # where this command line is started
    shutil.copytree(ROOT / "samples", folder / "samples", ignore=shutil.ignore_patterns("target", "node_modules"))
    if title == "AssemblyScript":  # what npm install makes of its package.json
        modules = Path(part("asc")).resolve().parents[2]
        (folder / "samples/assemblyscript/hello/node_modules").symlink_to(modules)
    if title == "Rust":  # Debian's, whose library for Wasm is there, before one of rustup
        monkeypatch.setenv("PATH", f"/usr/bin:{os.environ['PATH']}")
        ocibuild = Ocibuild(folder)
    if title == "Go":
        # A home of its own would have Go compile its library once more.
        cache = subprocess.run(["go", "env", "GOCACHE"], capture_output=True, text=True, check=True, timeout=60)
        os.makedirs(folder / ".cache", exist_ok=True)
        (folder / ".cache" / "go-build").symlink_to(cache.stdout.strip())
    recipe = RECIPES[title]
    for path, text in re.findall(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)^```$", recipe, re.MULTILINE | re.DOTALL):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    ran = 0
    for text in re.findall(r"^```console norun\n(.*?)^```$", recipe, re.MULTILINE | re.DOTALL):
        for port, host in hosts.items():
            text = text.replace(port, host)
        for line, expected in commands(Fence("console", "norun", text)):
            program, *words = shlex.split(line, comments=True)
            assert program == "ocibuild"
            said = ocibuild(*words, seconds=300)
            assert [wanted for wanted in expected if not shown(wanted, said)] == [], f"$ {line}\n{said}"
            ran += 1
    assert ran >= 2


def test_there_are_ten() -> None:
    assert len(RECIPES) == 10
