"""Error codes: every one in the source is documented, every documented one is in the source, and a test raises it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from ocibuild import errors
from ocibuild.errors import OcibuildError

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "errors.md"
KEBAB = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)+")
NO_CODE = re.compile(r"-linux-|^content-|^utf-|^oci-|^docker-|^x-")  # kebab-case that is something else
CLASSES = {
    name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, OcibuildError)
}

# Raised only where a real registry, engine or machine misbehaves in a way that no test can bring about.
UNRAISED: set[str] = set()


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "ocibuild").rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def constants(node: ast.AST) -> Iterator[str]:
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value


def callee(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def in_source() -> dict[str, set[str]]:
    """Every code, with the classes it is raised as where the source says it in one place."""
    codes: dict[str, set[str]] = {kind.default_code: {name} for name, kind in CLASSES.items()}
    for _, tree in trees():
        computed = False
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            given = next((word.value for word in node.keywords if word.arg == "code"), None)
            if callee(node) in CLASSES and given is not None:
                found = set(constants(given))
                computed |= not found
                for code in found:
                    codes.setdefault(code, set()).add(callee(node))
        if computed:
            # The code comes from a table or a helper of this module: whatever looks like one there is one.
            for code in codes_of_tables(tree):
                codes.setdefault(code, set())
    return codes


def codes_of_tables(tree: ast.Module) -> Iterator[str]:
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            if KEBAB.fullmatch(node.value) and not NO_CODE.search(node.value):
                yield node.value
        elif isinstance(node, ast.Call) and callee(node) == "_network" and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value)
        elif isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "code" for to in node.targets):
            yield from constants(node.value.body if isinstance(node.value, ast.IfExp) else node.value)
            yield from constants(node.value.orelse) if isinstance(node.value, ast.IfExp) else ()


def documented() -> dict[str, str]:
    """Each documented code and the class it stands under."""
    found: dict[str, str] = {}
    section = ""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"## `(\w+)`: exit status (\d+)$", line):
            section = heading[1]
            assert CLASSES[section].exit_status == int(heading[2]), line
        elif row := re.match(r"\| `([a-z0-9-]+)` \| (.+) \| (.+) \|$", line):
            assert row[1] not in found, f"{row[1]} is documented twice"
            found[row[1]] = section
    return found


def test_every_code_is_documented_and_every_documented_one_exists() -> None:
    assert set(documented()) == set(in_source())


def test_each_stands_under_the_class_that_is_raised() -> None:
    source = in_source()
    wrong = {
        code: (section, source[code])
        for code, section in documented().items()
        if source.get(code) and not any(related(section, kind) for kind in source[code])
    }
    assert wrong == {}


def related(section: str, kind: str) -> bool:
    return CLASSES[section].exit_status == CLASSES[kind].exit_status


def test_one_code_has_one_exit_status() -> None:
    several = {code: kinds for code, kinds in in_source().items() if len({CLASSES[k].exit_status for k in kinds}) > 1}
    assert several == {}


def test_the_collector_sees_codes_in_every_form() -> None:
    assert {"disk-full", "tls-untrusted", "timeout", "forbidden", "elf-core", "config-key-unknown", "usage"} <= set(
        in_source()
    )


def test_codes_are_kebab_case() -> None:
    assert [code for code in in_source() if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", code)] == []


def test_every_code_is_raised_by_some_test() -> None:
    said: set[str] = set()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path != Path(__file__):
            said |= set(constants(ast.parse(path.read_text(encoding="utf-8"))))
    # A code also counts where a test matches it in what a command printed: "[disk-full]".
    text = "\n".join(said)
    unraised = {code for code in in_source() if code not in said and f"[{code}]" not in text}
    assert unraised == UNRAISED
