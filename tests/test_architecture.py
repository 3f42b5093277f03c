"""The shape of the package, read from its source: who may import whom, and who alone may touch what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ocibuild"

# A room sees the rooms of lower levels and itself; rooms of one level are blind to each other.
LEVELS = {
    "errors": 0,
    "record": 0,
    "ambient": 0,
    "spec": 1,
    "binary": 2,
    "content": 2,
    "store": 3,
    "image": 4,
    "pack": 5,
    "registry": 5,
    "source": 5,
    "run": 5,
    "serve": 5,
    "bake": 5,
    "attest": 5,
    "api": 6,
    "cli": 7,
    "testing": 7,
    "__main__": 8,
}

CLOCKS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns"}
SURROUNDINGS = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.path.expanduser", "os.path.expandvars"}
RENAMES = {"os.rename", "os.replace", "os.renames", "shutil.move"}
RENAMING_METHODS = {"rename", "renames"}  # of a Path; its `replace` is told from str's by the number of arguments


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "schemas" not in path.parts)


def named(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Every module that is imported anywhere in the source, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            assert node.module is not None
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def dotted(node: ast.expr) -> str:
    """`os.path.expanduser` for the expression that says so."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def upward(path: Path, module: ast.Module) -> list[str]:
    """What a module imports that it should not see."""
    here = room(path)
    wrong = []
    for name, line in imports(module):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if top != "ocibuild" or here in ("__init__", target) or target not in LEVELS:
            continue
        if LEVELS[target] >= LEVELS[here] and not (here == "ambient" and target in ("errors", "record")):
            wrong.append(f"{named(path)}:{line} imports {name}")
    return wrong


def touches(module: ast.Module) -> list[str]:
    """What of the machine's surroundings a module reads: environment, home folder, wall clock."""
    found = []
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute):
            said = dotted(node)
            tail = ".".join(said.split(".")[-2:])
            if said in SURROUNDINGS or tail in CLOCKS or tail == "Path.home" or node.attr == "expanduser":
                found.append(f"{said} at line {node.lineno}")
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "time"):
            found += [
                f"from {node.module} import {alias.name}"
                for alias in node.names
                if f"{node.module}.{alias.name}" in SURROUNDINGS | CLOCKS
            ]
    return found


def prints(module: ast.Module) -> list[str]:
    """Where a module speaks to the person."""
    found = []
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            found.append(f"print at line {node.lineno}")
        if isinstance(node, ast.Attribute) and dotted(node) in ("sys.stdout", "sys.stderr"):
            found.append(f"{dotted(node)} at line {node.lineno}")
    return found


def renames(module: ast.Module) -> list[str]:
    """Where a module renames files."""
    found = []
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        said, method = dotted(node.func), node.func.attr
        # str.replace takes two arguments, dataclasses.replace is a name of its own: one argument is Path.replace.
        path_replace = method == "replace" and len(node.args) == 1 and not node.keywords
        if said in RENAMES or method in RENAMING_METHODS or path_replace:
            found.append(f"{said} at line {node.lineno}")
    return found


def importers(*libraries: str) -> set[str]:
    """The rooms that import one of these, anywhere."""
    return {room(path) for path in modules() for name, _ in imports(tree(path)) if name.partition(".")[0] in libraries}


def test_every_room_has_its_level() -> None:
    assert {room(path) for path in modules()} - {"__init__"} <= set(LEVELS)


def test_imports_point_downwards_only() -> None:
    assert [line for path in modules() for line in upward(path, tree(path))] == []


@pytest.mark.parametrize(
    "where, source",
    [
        ("spec/digest.py", "from ocibuild.store.base import Source"),
        ("binary/elf.py", "from ocibuild.content import tar"),  # one level: blind to each other
        ("pack/plan.py", "def later():\n    from ocibuild.registry.store import RegistryStore"),
        ("errors.py", "import ocibuild.spec.digest"),
        ("errors.py", "from ocibuild import ambient"),
        ("api/pack.py", "import ocibuild.cli"),
    ],
)
def test_an_import_upwards_is_seen(where: str, source: str) -> None:
    assert upward(PACKAGE / where, ast.parse(source))


def test_only_the_registry_room_knows_oras_and_requests() -> None:
    assert importers("oras", "requests", "urllib3") == {"registry"}


def test_only_the_command_line_knows_click_and_rich() -> None:
    assert importers("click", "rich") == {"cli"}


def test_only_the_command_line_speaks() -> None:
    speaking = {named(path): found for path in modules() if room(path) != "cli" and (found := prints(tree(path)))}
    assert speaking == {}
    assert any(prints(tree(path)) for path in modules() if room(path) == "cli"), "the check sees nothing at all"


def test_only_ambient_reads_environment_home_and_clock() -> None:
    reading = {named(path): found for path in modules() if (found := touches(tree(path)))}
    assert set(reading) == {"ambient.py"}


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.environ['HOME']",
        "import os\nos.getenv('HOME')",
        "from os import environ",
        "from pathlib import Path\nPath.home()",
        "Path('~').expanduser()",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.now()",
        "import time\ntime.time()",
        "from time import time",
    ],
)
def test_a_look_at_the_surroundings_is_seen(source: str) -> None:
    assert touches(ast.parse(source))


def test_measuring_a_duration_is_no_look_at_the_clock() -> None:
    assert touches(ast.parse("import time\ntime.monotonic()")) == []


def test_only_atomic_renames() -> None:
    renaming = {named(path) for path in modules() if renames(tree(path))}
    assert renaming == {"content/atomic.py"}


@pytest.mark.parametrize("source", ["os.rename(a, b)", "os.replace(a, b)", "Path('a').replace(b)", "a.rename(b)"])
def test_a_rename_is_seen(source: str) -> None:
    assert renames(ast.parse(source))


def test_replacing_text_is_no_rename() -> None:
    assert renames(ast.parse("text.replace('a', 'b')\nreplace(options, name=1)")) == []


def test_nothing_is_called_utils() -> None:
    vague = {"utils", "util", "helpers", "common_utils", "misc"}
    assert [named(path) for path in PACKAGE.rglob("*") if path.stem in vague] == []


@pytest.mark.parametrize("path", modules(), ids=named)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(tree(path)), f"{named(path)} has no docstring"


@pytest.mark.parametrize("path", modules(), ids=named)
def test_every_public_function_and_class_says_what_it_is(path: Path) -> None:
    silent = []
    for node in tree(path).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            silent += [] if ast.get_docstring(node) else [node.name]
    assert silent == []


def test_no_module_is_longer_than_can_be_read() -> None:
    long = {named(path): count for path in modules() if (count := len(path.read_text("utf-8").splitlines())) > 400}
    assert long == {}


def test_nothing_names_a_machine_or_a_package_index() -> None:
    # Put together here, so that this file does not find itself.
    unwanted = ["/" + "work/", "shared/" + "reference", "pypi" + ".org", "proxy.golang" + ".org", "crates" + ".io"]
    names = ("ocibuild", "tests", "schemas", "scripts", "docs", "pyproject.toml", "README.md")
    places = [ROOT / name for name in names]
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*"))]
    found = []
    for file in files:
        if file.is_file() and file.suffix in (".py", ".md", ".json", ".toml", ".sh", ".yml", ""):
            text = file.read_text("utf-8", errors="replace")
            found += [f"{file.relative_to(ROOT)}: {word}" for word in unwanted if word in text]
    assert found == []
