"""What starting up costs: packing pays for nothing it does not use, and `--help` for next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = b"\0asm\1\0\0\0"  # the smallest module: the header alone (WebAssembly core specification, 5.5.16)

HEAVY = {
    "requests", "urllib3", "oras", "jsonschema", "referencing", "rich", "wasmtime", "elftools", "certifi", "yaml",
    "asyncio", "multiprocessing", "http", "ssl", "socket", "email", "xml", "tomllib", "pydoc", "unittest", "zoneinfo",
    "ctypes", "pytest", "distributed", "sqlite3",
}  # fmt: skip

WATCH = """
import json, sys
sys.path[:0] = [{root!r}]
started = []
sys.addaudithook(lambda event, args: started.append(str(args[0])) if event == "subprocess.Popen" else None)
before = set(sys.modules)
try:
    {statement}
except SystemExit as stop:
    assert not stop.code, stop.code
finally:
    with open("cost.json", "w") as file:
        json.dump({{"modules": sorted(set(sys.modules) - before), "started": started}}, file)
"""


def cost(statement: str, folder: Path) -> tuple[set[str], list[str]]:
    """The modules that a fresh interpreter loads for a statement, and the processes it starts."""
    (folder / "hello.wasm").write_bytes(MODULE)
    source = WATCH.format(root=str(Path(__file__).parents[1]), statement=statement)
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "cost.json").read_text())
    return set(found["modules"]), found["started"]


def verb(*words: str) -> str:
    return f"import ocibuild.cli; ocibuild.cli.main({list(words)!r})"


def completing(line: str) -> str:
    """What a shell asks for with the cursor at the end of `line`."""
    asked = {"_OCIBUILD_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    return f"import os; os.environ.update({asked!r}); {verb()}"


def heavy(modules: set[str]) -> set[str]:
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
    modules, started = cost(statement, tmp_path)
    assert "ocibuild.image.assemble" in modules, "nothing was packed"
    assert heavy(modules) == set()
    assert started == []


def test_a_process_and_a_heavy_module_would_be_seen(tmp_path: Path) -> None:
    statement = "import jsonschema, subprocess; subprocess.run([sys.executable, '-c', ''])"
    modules, started = cost(statement, tmp_path)
    assert "jsonschema" in heavy(modules)
    assert started


def test_packing_stays_within_its_budget_of_modules(tmp_path: Path) -> None:
    modules, _ = cost(PACKING["a layout"], tmp_path)
    ours = {name for name in modules if name.startswith("ocibuild")}
    assert len(ours) <= 78, sorted(ours)
    assert len(modules) <= 220, sorted(modules)


FRONT = {"ocibuild", "ocibuild.cli", "ocibuild.cli.collector", "ocibuild.cli.verbs", "ocibuild.errors"}

QUICK = {
    "help": verb("--help"),
    "version": verb("--version"),
    "a verb completed": completing("ocibuild pa"),
}


@pytest.mark.parametrize("statement", QUICK.values(), ids=QUICK)
def test_help_version_and_completion_load_no_verb(statement: str, tmp_path: Path) -> None:
    modules, started = cost(statement, tmp_path)
    assert {name for name in modules if name.startswith("ocibuild")} == FRONT
    assert len(modules) <= 90, sorted(modules)
    assert heavy(modules) == set()
    assert started == []


def test_completing_an_option_loads_its_verb_and_nothing_that_works(tmp_path: Path) -> None:
    modules, started = cost(completing("ocibuild pack --fo"), tmp_path)
    ours = {name for name in modules if name.startswith("ocibuild")}
    assert "ocibuild.cli.pack" in ours
    assert not [name for name in ours if name.split(".")[1:2] not in ([], ["cli"], ["pack"], ["record"], ["errors"])]
    assert len(ours) <= 14, sorted(ours)
    assert len(modules) <= 110, sorted(modules)
    assert heavy(modules) == set()
    assert started == []


def test_import_ocibuild_loads_nothing_but_itself(tmp_path: Path) -> None:
    modules, _ = cost("import ocibuild", tmp_path)
    assert {name for name in modules if name.startswith("ocibuild")} == {"ocibuild"}
