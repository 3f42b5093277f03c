"""AssemblyScript, JavaScript and Python: what their compilers are asked for, and what is said where something lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocibuild.api.build import build
from ocibuild.errors import InputError, ToolError, UsageError
from ocibuild.source import toolchains
from tests.source.toolchains.fakes import ASC, JAVASCRIPT, PYTHON, SAMPLES, Fakes, node

JCO, COMPONENTIZE, SHIM = "@bytecodealliance/jco", "@bytecodealliance/componentize-js", "@assemblyscript/wasi-shim"


def project(folder: Path, files: dict[str, str], **package: Any) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if package:
        (folder / "package.json").write_text(json.dumps(package))
    return folder


def words(fakes: Fakes, folder: Path, name: str, *platforms: str, **said: Any) -> list[str]:
    """How the compiler was called last."""
    build(folder, platforms=platforms, dry_run=True, session=fakes.session(), **said)
    found: list[str] = fakes.calls(name)[-1]["words"]
    return found


# -- what is seen


@pytest.mark.parametrize("language", ["assemblyscript", "javascript", "python", "zig"])
def test_a_sample_shows_its_language(language: str) -> None:
    assert list(toolchains.seen(SAMPLES / language / "hello")) == [language]


def test_the_c_sample_shows_its_language() -> None:
    assert toolchains.seen(SAMPLES / "c") == {"c": "hello.c"}


@pytest.mark.parametrize(
    "files, package",
    [
        ({}, {"name": "site", "dependencies": {"react": "*"}}),
        ({"pyproject.toml": "", "app.py": ""}, {}),
        ({"index.ts": ""}, {"name": "a", "main": "index.js"}),
    ],
)
def test_what_may_be_anything_is_not_seen(tmp_path: Path, files: dict[str, str], package: dict[str, Any]) -> None:
    assert toolchains.seen(project(tmp_path, files, **package)) == {}


# -- AssemblyScript


@pytest.fixture
def assembly(fakes: Fakes, tmp_path: Path) -> Path:
    folder = project(
        tmp_path / "a", {"assembly/index.ts": ""}, name="@me/hello", devDependencies={"assemblyscript": "*"}
    )
    node(fakes, folder, "asc", ASC)
    return folder


def test_asc_is_given_entry_optimisation_and_the_shim(fakes: Fakes, assembly: Path) -> None:
    assert words(fakes, assembly, "asc")[:-1] == ["assembly/index.ts", "--target", "release", "--optimize", "--outFile"]
    project(assembly, {f"node_modules/{SHIM}/asconfig.json": "{}"})
    assert words(fakes, assembly, "asc")[3:5] == ["--config", f"node_modules/{SHIM}/asconfig.json"]
    assert build(assembly, session=fakes.session()).references[0].startswith("oci:hello.oci@")


def test_the_projects_own_settings_are_kept_to(fakes: Fakes, assembly: Path) -> None:
    settings = {"entries": ["assembly/main.ts"], "targets": {"release": {"optimizeLevel": 3}}}
    project(assembly, {"asconfig.json": json.dumps(settings), f"node_modules/{SHIM}/asconfig.json": "{}"})
    assert words(fakes, assembly, "asc", tool_args=["--runtime=stub"])[:-1] == [
        "--target",
        "release",
        "--runtime=stub",
        "--outFile",
    ]
    assert words(fakes, assembly, "asc", program="assembly/index.ts")[0] == "assembly/index.ts"


def test_a_module_without_the_shim_is_told_the_cure(fakes: Fakes, assembly: Path) -> None:
    fakes.environ["FAKE_PRODUCT"] = "../tests/vectors/wasm/features.wasm"
    with pytest.raises(InputError, match="is a library") as caught:
        build(assembly, session=fakes.session())
    assert caught.value.code == "not-a-command"
    assert f"npm install --save-dev {SHIM}" in (caught.value.hint or "")


def test_an_entry_that_is_not_there(fakes: Fakes, assembly: Path) -> None:
    with pytest.raises(UsageError, match=r"no file main\.ts") as caught:
        build(assembly, program="main.ts", session=fakes.session())
    assert caught.value.code == "program-unknown"
    (assembly / "assembly" / "index.ts").unlink()
    with pytest.raises(InputError, match=r"no assembly/index\.ts") as absent:
        build(assembly, session=fakes.session())
    assert absent.value.code == "sources-unknown"


@pytest.mark.parametrize("text", ["{", "[]", '{"targets": 1}', "[" * 100_000])
def test_settings_that_asc_would_not_take(fakes: Fakes, assembly: Path, text: str) -> None:
    (assembly / "asconfig.json").write_text(text)
    with pytest.raises(InputError, match=r"asconfig\.json") as caught:
        build(assembly, session=fakes.session())
    assert caught.value.code == "sources-invalid"


@pytest.mark.parametrize("platform", ["linux/amd64", "wasip2/wasm"])
def test_assemblyscript_makes_modules_only(fakes: Fakes, assembly: Path, platform: str) -> None:
    with pytest.raises(UsageError, match=platform) as caught:
        build(assembly, platforms=[platform], session=fakes.session())
    assert caught.value.code == "platform-unbuildable"


@pytest.mark.parametrize(
    "lock, command",
    [
        (None, "npm install"),
        ("package-lock.json", "npm ci"),
        ("yarn.lock", "yarn install"),
        ("pnpm-lock.yaml", "pnpm install"),
    ],
)
def test_a_package_that_is_not_installed(fakes: Fakes, assembly: Path, lock: str | None, command: str) -> None:
    (assembly / "node_modules" / ".bin" / "asc").unlink()
    if lock:
        (assembly / lock).touch()
    with pytest.raises(ToolError, match=r"assemblyscript is in .*package\.json, and not installed") as caught:
        build(assembly, session=fakes.session())
    assert (caught.value.code, caught.value.hint) == ("toolchain-missing", command)


def test_a_package_that_nobody_asked_for(fakes: Fakes, tmp_path: Path) -> None:
    folder = project(tmp_path / "a", {"asconfig.json": "{}", "assembly/index.ts": ""})
    with pytest.raises(ToolError, match="no asc in node_modules or on PATH") as caught:
        build(folder, session=fakes.session())
    assert (caught.value.code, caught.value.hint) == (
        "toolchain-missing",
        "npm install --save-dev assemblyscript",
    )


def test_a_machine_without_node(fakes: Fakes, assembly: Path) -> None:
    (fakes.bin / "node").unlink()
    with pytest.raises(ToolError, match="node is not on PATH") as caught:
        build(assembly, session=fakes.session())
    assert caught.value.code == "toolchain-missing"


@pytest.mark.parametrize("text", ["{", "[]", "\\ud800"])
def test_a_package_that_cannot_be_read(fakes: Fakes, tmp_path: Path, text: str) -> None:
    folder = project(tmp_path / "a", {"package.json": text, "wit/world.wit": ""})
    with pytest.raises(InputError, match=r"package\.json") as caught:
        build(folder, session=fakes.session())
    assert caught.value.code == "sources-invalid"


# -- JavaScript


@pytest.fixture
def script(fakes: Fakes, tmp_path: Path) -> Path:
    files = {"hello.js": "", "wit/world.wit": ""}
    folder = project(tmp_path / "a", files, name="hello", main="hello.js", devDependencies={COMPONENTIZE: "*"})
    node(fakes, folder, "componentize-js", JAVASCRIPT)
    return folder


def test_componentize_js_is_given_entry_and_wit(fakes: Fakes, script: Path) -> None:
    assert words(fakes, script, "componentize-js", "wasip2/wasm")[:-1] == [
        str(script / "hello.js"),
        "--wit",
        str(script / "wit"),
        "--out",
    ]


def test_jco_is_taken_where_the_project_names_it_and_bundles_what_it_needs(fakes: Fakes, script: Path) -> None:
    node(fakes, script, "jco", JAVASCRIPT)
    project(script, {}, main="hello.js", devDependencies={JCO: "*"}, dependencies={"left-pad": "*"})
    said = words(fakes, script, "jco", tool_args=["--disable=http"])
    assert said[:2] == ["componentize", str(script / "hello.js")]
    assert said[4:6] == ["--bundle", "--disable=http"]
    assert not fakes.calls("componentize-js")


def test_an_entry_that_a_build_would_write(fakes: Fakes, script: Path) -> None:
    project(script, {}, main="dist/out.js", scripts={"build": "rollup"}, devDependencies={JCO: "*"})
    with pytest.raises(InputError, match=r"names dist/out\.js, which is not there") as caught:
        build(script, session=fakes.session())
    assert caught.value.code == "sources-invalid"
    assert "npm run build first" in (caught.value.hint or "")
    with pytest.raises(UsageError, match=r"no file other\.js") as other:
        build(script, program="other.js", session=fakes.session())
    assert other.value.code == "program-unknown"


def test_an_entry_by_its_usual_name(fakes: Fakes, script: Path) -> None:
    project(script, {"src/index.js": ""}, devDependencies={COMPONENTIZE: "*"})
    assert words(fakes, script, "componentize-js")[0] == str(script / "src" / "index.js")
    (script / "src" / "index.js").unlink()
    with pytest.raises(InputError, match="no module to begin with") as caught:
        build(script, session=fakes.session())
    assert caught.value.code == "sources-unknown"


def test_a_component_without_wit(fakes: Fakes, script: Path) -> None:
    (script / "wit" / "world.wit").rename(script / "hello.wit")
    (script / "wit").rmdir()
    assert words(fakes, script, "componentize-js")[2] == str(script / "hello.wit")
    (script / "hello.wit").unlink()
    with pytest.raises(InputError, match="no folder wit") as caught:
        build(script, session=fakes.session())
    assert caught.value.code == "sources-unknown"


def test_neither_of_the_two_is_installed(fakes: Fakes, tmp_path: Path) -> None:
    folder = project(tmp_path / "a", {"app.js": "", "wit/world.wit": ""}, name="hello")
    with pytest.raises(ToolError, match="no componentize-js and no jco") as caught:
        build(folder, session=fakes.session())
    assert caught.value.hint == f"npm install --save-dev {COMPONENTIZE}"


@pytest.mark.parametrize("platform", ["linux/amd64", "wasip1/wasm"])
def test_javascript_becomes_components_only(fakes: Fakes, script: Path, platform: str) -> None:
    with pytest.raises(UsageError, match=platform) as caught:
        build(script, platforms=[platform], session=fakes.session())
    assert caught.value.code == "platform-unbuildable"


# -- Python


@pytest.fixture
def snake(fakes: Fakes, tmp_path: Path) -> Path:
    fakes.program("componentize-py", PYTHON)
    return project(tmp_path / "a", {"app.py": "", "wit/world.wit": "", "pyproject.toml": '[project]\nname = "hello"\n'})


def test_componentize_py_is_given_module_and_wit(fakes: Fakes, snake: Path) -> None:
    said = words(fakes, snake, "componentize-py", tool_args=["--world=hello"])
    assert said[:5] == ["--wit-path", str(snake / "wit"), "--world=hello", "componentize", "app"]
    assert said[5:7] == ["--python-path", str(snake)]
    assert build(snake, session=fakes.session()).references[0].startswith("oci:hello.oci@")


@pytest.mark.parametrize("program, module", [("server", "server"), ("pkg/server.py", "pkg.server")])
def test_a_module_is_chosen_by_name(fakes: Fakes, snake: Path, program: str, module: str) -> None:
    assert words(fakes, snake, "componentize-py", program=program)[3] == module


def test_a_module_below_src(fakes: Fakes, snake: Path) -> None:
    (snake / "src").mkdir()
    (snake / "app.py").rename(snake / "src" / "app.py")
    assert words(fakes, snake, "componentize-py")[3:6] == ["app", "--python-path", str(snake / "src")]
    (snake / "src" / "app.py").unlink()
    with pytest.raises(InputError, match=r"no app\.py") as caught:
        build(snake, session=fakes.session())
    assert caught.value.code == "sources-unknown"


def test_a_project_that_cannot_be_read(fakes: Fakes, snake: Path) -> None:
    (snake / "pyproject.toml").write_text("[project\n")
    with pytest.raises(InputError, match=r"pyproject\.toml") as caught:
        build(snake, session=fakes.session())
    assert caught.value.code == "sources-invalid"
    (snake / "pyproject.toml").unlink()
    assert build(snake, session=fakes.session()).artifacts[0].name == "a.wasm"


def test_a_missing_componentize_py(fakes: Fakes, snake: Path) -> None:
    (fakes.bin / "componentize-py").unlink()
    with pytest.raises(ToolError, match="componentize-py is not on PATH") as caught:
        build(snake, session=fakes.session())
    assert (caught.value.code, caught.value.hint) == ("toolchain-missing", "pip install componentize-py")


@pytest.mark.parametrize("platform", ["linux/amd64", "wasip1/wasm"])
def test_python_becomes_components_only(fakes: Fakes, snake: Path, platform: str) -> None:
    with pytest.raises(UsageError, match=platform) as caught:
        build(snake, platforms=[platform], session=fakes.session())
    assert caught.value.code == "platform-unbuildable"


def test_a_world_that_starts_nothing_is_told_the_cure(fakes: Fakes, snake: Path) -> None:
    fakes.environ["FAKE_PRODUCT"] = "../tests/vectors/wasm/component-names.wasm"
    with pytest.raises(InputError) as caught:
        build(snake, session=fakes.session())
    assert caught.value.code == "not-a-command"
    assert "export wasi:cli/run" in (caught.value.hint or "")
