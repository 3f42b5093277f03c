"""What starting up costs: packing pays for nothing it does not use, and `--help` for next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.registry.double import Registry

MODULE = b"\0asm\1\0\0\0"  # the smallest module: the header alone (WebAssembly core specification, 5.5.16)

HEAVY = {
    "requests", "urllib3", "oras", "jsonschema", "referencing", "rich", "wasmtime", "elftools", "certifi", "yaml",
    "asyncio", "multiprocessing", "http", "ssl", "socket", "email", "xml", "tomllib", "pydoc", "unittest", "zoneinfo",
    "ctypes", "pytest", "distributed", "sqlite3",
}  # fmt: skip

WATCH = """
import atexit, gc, json, sys
sys.path[:0] = [{root!r}]
seen = {{"subprocess.Popen": [], "compile": []}}
sys.addaudithook(lambda event, args: seen[event].append(str(args)) if event in seen else None)
before = set(sys.modules)
collected = sum(generation["collections"] for generation in gc.get_stats())

@atexit.register
def count():
    rounds = sum(generation["collections"] for generation in gc.get_stats()) - collected
    modules, sources = sorted(set(sys.modules) - before), [text for text in seen["compile"] if "<string>" in text]
    gc.unfreeze()
    options = sum(type(one).__name__ == "Option" for one in gc.get_objects())
    with open("cost.json", "w") as file:
        json.dump([modules, seen["subprocess.Popen"], sources, rounds, options], file)

{statement}
"""


class Cost(NamedTuple):
    """What a statement needs: modules loaded, processes started, pieces of source text compiled, rounds of the garbage
    collector, and options of the command line built.
    """

    modules: list[str]
    started: list[str]
    sources: list[str]
    collected: int
    options: int

    @property
    def ours(self) -> set[str]:
        return {name for name in self.modules if name.partition(".")[0] == "ocibuild"}


def cost(statement: str, folder: Path) -> Cost:
    """What a fresh interpreter needs for a statement."""
    (folder / "hello.wasm").write_bytes(MODULE)
    source = WATCH.format(root=str(Path(__file__).parents[1]), statement=statement)
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return Cost(*json.loads((folder / "cost.json").read_text()))


NEEDLESS = {
    "dataclasses",
    "tempfile",
    "shutil",
    "logging",
    "concurrent.futures",
    "base64",
    "locale",
    "difflib",
    "signal",
}
"""What is light, but nothing that packing needs."""


def verb(*words: str) -> str:
    return f"import ocibuild.cli; sys.argv[1:] = {list(words)!r}; ocibuild.cli.main()"


def completing(line: str) -> str:
    """What a shell asks for with the cursor at the end of `line`."""
    asked = {"_OCIBUILD_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    return f"import os; os.environ.update({asked!r}); {verb()}"


def heavy(modules: Iterable[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] in HEAVY}


PACKING = {
    "a layout": verb("pack", "hello.wasm"),
    "an archive": verb("pack", "hello.wasm", "-o", "hello.tar"),
    "a dry run": verb("pack", "hello.wasm", "--dry-run"),
    "a tag": verb("pack", "hello.wasm", "-t", "localhost:5000/hello:1"),
    "the library": "import ocibuild; ocibuild.pack('hello.wasm', output='hello.oci')",
}


@pytest.mark.parametrize("statement", PACKING.values(), ids=PACKING)
def test_packing_pays_for_nothing_heavy_and_starts_no_process(statement: str, tmp_path: Path) -> None:
    found = cost(statement, tmp_path)
    assert "ocibuild.image.assemble" in found.modules, "nothing was packed"
    assert heavy(found.modules) == set()
    assert found.started == []


def test_what_costs_would_be_seen(tmp_path: Path) -> None:
    statement = """
import dataclasses, jsonschema, subprocess
import click
subprocess.run([sys.executable, '-c', ''])
dataclasses.make_dataclass('Noun', ['size'])
kept = click.Option(['--one']), gc.collect()
"""
    found = cost(statement, tmp_path)
    assert "jsonschema" in heavy(found.modules)
    assert found.started
    assert compiled(found)
    assert found.collected > 10  # importing click alone takes that many
    assert found.options == 1


def test_packing_stays_within_its_budget(tmp_path: Path) -> None:
    found = cost(verb("pack", "hello.wasm", "-o", "made.oci"), tmp_path)
    assert len(found.ours) <= 68, sorted(found.ours)
    assert len(found.modules) <= 125, sorted(found.modules)
    assert not NEEDLESS & set(found.modules)
    assert compiled(found) == []
    assert found.collected <= 8
    assert found.options <= 55


def test_pushing_stays_within_its_budget(tmp_path: Path) -> None:
    cost(PACKING["the library"], tmp_path)
    with Registry() as registry:
        push = f"import ocibuild; ocibuild.push('oci:hello.oci', '{registry.host}/hello:1')"
        first, again = cost(push, tmp_path), cost(push, tmp_path)
    assert "ocibuild.registry.upload" in first.ours, "nothing was pushed"
    for found in (first, again):
        assert len(found.ours) <= 75, sorted(found.ours)
        assert len(found.modules) <= 400, sorted(found.modules)
        assert "oras.auth" in found.modules
        assert not {"jsonschema", "attr", "referencing", "rich", "oras.provider", "oras.oci"} & set(found.modules)
        assert compiled(found) == []
        assert found.started == []


KINDS = {
    "a module": ("hello.wasm", {"wasm"}, "tarball", ()),
    "a native program": ("hello-linux-amd64", {"elf"}, "tarball", ()),
    "another shape": ("hello.wasm", {"wasm"}, "rawlayer", ("-f", "wasm-layer")),
}


@pytest.mark.parametrize(("file", "readers", "shape", "words"), KINDS.values(), ids=KINDS)
def test_packing_loads_the_reader_and_the_author_it_needs(
    file: str, readers: set[str], shape: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    program = Path(__file__).parents[1] / "samples" / file
    ours = cost(verb("pack", str(program), "-o", "made.oci", *words), tmp_path).ours
    assert readers <= {name.rpartition(".")[2] for name in ours if name.startswith("ocibuild.binary.")}
    assert ("ocibuild.binary.elf" in ours) == ("elf" in readers)
    assert "ocibuild.binary.sniff" not in ours
    authors = {"artifact", "compat", "rawlayer", "solo", "tarball", "wasm_to_oci"}
    assert {name for name in authors if f"ocibuild.image.shapes.{name}" in ours} == {shape}


FRONT = {
    "ocibuild",
    "ocibuild.cli",
    "ocibuild.cli.collector",
    "ocibuild.cli.ending",
    "ocibuild.cli.verbs",
    "ocibuild.errors",
}

QUICK = {
    "help": verb("--help"),
    "version": verb("--version"),
    "a verb completed": completing("ocibuild pa"),
}


@pytest.mark.parametrize("statement", QUICK.values(), ids=QUICK)
def test_help_version_and_completion_load_no_verb(statement: str, tmp_path: Path) -> None:
    found = cost(statement, tmp_path)
    assert found.ours == FRONT
    assert len(found.modules) <= 70, sorted(found.modules)
    assert heavy(found.modules) == set()
    assert found.started == []
    assert found.collected <= 8
    assert found.options <= 4


def test_completing_an_option_loads_its_verb_and_nothing_that_works(tmp_path: Path) -> None:
    found = cost(completing("ocibuild pack --fo"), tmp_path)
    assert "ocibuild.cli.pack" in found.ours
    assert {name.split(".")[1] for name in found.ours if "." in name} == {"cli", "errors", "pack", "record"}
    assert len(found.ours) <= 15, sorted(found.ours)
    assert len(found.modules) <= 75, sorted(found.modules)
    assert heavy(found.modules) == set()
    assert found.started == []
    assert found.options <= 55


def test_import_ocibuild_loads_nothing_but_itself(tmp_path: Path) -> None:
    assert cost("import ocibuild", tmp_path).ours == {"ocibuild"}


def compiled(found: Cost) -> list[str]:
    """The methods that `dataclasses` has written for classes."""
    return [text for text in found.sources if "def __create_fn__" in text]
