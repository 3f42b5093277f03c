"""`import ocibuild`: the same power as the command line, typed, and nothing printed."""

from __future__ import annotations

import ast
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import ocibuild

SOURCE = Path(ocibuild.__file__)
MODULE = b"\0asm\1\0\0\0"


def test_public_names_are_sorted_and_each_is_there() -> None:
    assert ocibuild.__all__ == sorted(set(ocibuild.__all__))
    for name in ocibuild.__all__:
        assert getattr(ocibuild, name).__name__ == name


def test_what_type_checkers_see_is_what_there_is() -> None:
    # They read the imports under TYPE_CHECKING; the interpreter reads __all__ and the homes.
    block = next(node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert sorted(imported) == ocibuild.__all__
    for name, module in imported.items():
        assert module is not None
        assert getattr(sys.modules[getattr(ocibuild, name).__module__], name) is getattr(ocibuild, name)
        assert getattr(ocibuild, name).__module__ == module


def test_every_error_is_public() -> None:
    from ocibuild import errors

    kinds = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert kinds <= set(ocibuild.__all__)


@pytest.mark.parametrize("name", ocibuild.__all__)
def test_every_public_name_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(ocibuild, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'unpack'"):
        ocibuild.unpack  # type: ignore[attr-defined]  # noqa: B018


def test_dir_lists_names_that_are_not_loaded_yet() -> None:
    assert set(ocibuild.__all__) <= set(dir(ocibuild))


@pytest.mark.parametrize(
    "first",
    [
        "from ocibuild.pack.options import Options",
        "from ocibuild.pack import options; options.about",
        "import ocibuild.pack.plan",
        "import ocibuild; ocibuild.pack",
    ],
)
def test_pack_is_the_verb_whatever_was_imported_before(first: str) -> None:
    source = f"{first}\nimport ocibuild, types\nassert isinstance(ocibuild.pack, types.FunctionType), ocibuild.pack"
    done = subprocess.run([sys.executable, "-c", source], cwd=SOURCE.parents[1], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


def test_packing_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hello.wasm").write_bytes(MODULE)
    packed = ocibuild.pack(tmp_path / "hello.wasm", output=f"oci:{tmp_path / 'hello.oci'}", label={"team": "a"})
    assert packed.references == (f"oci:{tmp_path / 'hello.oci'}@{packed.digest}",)
    assert (tmp_path / "hello.oci" / "blobs" / packed.digest.replace(":", "/")).is_file()
    assert capfd.readouterr() == ("", "")


def test_an_option_that_is_none_says_which_there_are(tmp_path: Path) -> None:
    (tmp_path / "hello.wasm").write_bytes(MODULE)
    with pytest.raises(ocibuild.UsageError) as caught:
        ocibuild.pack(tmp_path / "hello.wasm", dry_run=True, labels={"team": "a"})
    assert caught.value.code == "option-unknown"
    assert "label" in (caught.value.hint or "")


def test_errors_cross_process_boundaries_whole() -> None:
    error = ocibuild.StoreError("no space left", code="disk-full", hint="free some")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.code, again.hint) == (type(error), str(error), error.code, error.hint)
