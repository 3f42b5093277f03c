"""What zig is asked for: a build of its own, and C; the compiler itself is in tests/api."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from ocibuild.api.build import build
from ocibuild.errors import InputError, ToolError, UsageError
from ocibuild.source import toolchains
from ocibuild.source.toolchains import zig
from ocibuild.spec.platform import Platform
from tests.source.toolchains.fakes import ZIG, Fakes

MAIN = "int main(int argc, char **argv) { return 0; }\n"


def built(fakes: Fakes, folder: Path, *platforms: str, **said: Any) -> list[list[str]]:
    build(folder, platforms=platforms, dry_run=True, session=fakes.session(), **said)
    return [call["words"] for call in fakes.calls("zig")]


@pytest.fixture
def folder(fakes: Fakes, tmp_path: Path) -> Path:
    fakes.program("zig", ZIG)
    (tmp_path / "a").mkdir()
    return tmp_path / "a"


# -- zig build


def test_zig_build_has_target_mode_and_a_prefix_of_its_own(fakes: Fakes, folder: Path) -> None:
    (folder / "build.zig").touch()
    calls = {words[2]: words for words in built(fakes, folder, "wasi/wasm", "linux/amd64/v3")}
    assert set(calls) == {"-Dtarget=wasm32-wasi", "-Dtarget=x86_64-linux-musl"}
    for words in calls.values():
        assert words[:2] == ["build", "--release=small"]
        assert not words[words.index("--prefix") + 1].startswith(str(folder))
    assert "-Dcpu=x86_64_v3" in calls["-Dtarget=x86_64-linux-musl"]
    assert list(folder.iterdir()) == [folder / "build.zig"]


def test_the_program_is_called_as_zig_build_installs_it(fakes: Fakes, folder: Path) -> None:
    (folder / "build.zig").touch()
    fakes.environ["FAKE_NAMES"] = "server"
    assert build(folder, session=fakes.session()).references[0].startswith("oci:server.oci@")


def test_one_of_several_that_are_installed_is_chosen(fakes: Fakes, folder: Path) -> None:
    (folder / "build.zig").touch()
    fakes.environ["FAKE_NAMES"] = "server client"
    with pytest.raises(UsageError, match="2 programs: client, server") as caught:
        built(fakes, folder)
    assert caught.value.code == "program-needed"
    packed = build(folder, platforms=["linux/amd64,wasi/wasm"], program="server", session=fakes.session())
    assert [artifact.name for artifact in packed.artifacts] == ["server", "server.wasm"]


def test_nothing_installed_is_told(fakes: Fakes, folder: Path) -> None:
    (folder / "build.zig").touch()
    fakes.program("zig")
    with pytest.raises(ToolError, match="ended well, and wrote no") as caught:
        built(fakes, folder)
    assert caught.value.code == "build-failed"


# -- C


def test_c_is_compiled_by_zig_for_each_target(fakes: Fakes, folder: Path) -> None:
    (folder / "hello.c").write_text(MAIN)
    (folder / "include").mkdir()
    fakes.environ |= {"CFLAGS": "-DA='b c'", "LDFLAGS": "-lm"}
    words = {words[2]: words for words in built(fakes, folder, "wasi/wasm,linux/amd64,linux/arm64", tool_args=["-O3"])}
    assert set(words) == {"wasm32-wasi", "x86_64-linux-musl", "aarch64-linux-musl"}
    for said in words.values():
        assert said[:2] == ["cc", "-target"]
        assert {"-Os", "-s", f"-ffile-prefix-map={folder}=.", f"-I{folder}/include", "-DA=b c"} <= set(said)
        assert said[said.index(str(folder / "hello.c")) :][:4] == [str(folder / "hello.c"), "-O3", "-lm", "-o"]


def test_cpp_has_its_own_compiler_and_flags(fakes: Fakes, folder: Path) -> None:
    (folder / "src").mkdir()
    (folder / "src" / "main.cpp").write_text(MAIN)
    fakes.environ |= {"CFLAGS": "-DC", "CXXFLAGS": "-std=c++20"}
    packed = build(folder, session=fakes.session())
    words = fakes.calls("zig")[0]["words"]
    assert words[0] == "c++"
    assert "-std=c++20" in words
    assert "-DC" not in words
    assert packed.artifacts[0].name == "a.wasm", "main says nothing, so the folder does"


def test_the_file_with_the_main_is_the_program(fakes: Fakes, folder: Path) -> None:
    (folder / "server.c").write_text("#include <stdio.h>\n" + MAIN)
    (folder / "list.c").write_text("/* called by main() */\n// int main(void)\nint list(void) { return 1; }\n")
    packed = build(folder, session=fakes.session())
    assert packed.artifacts[0].name == "server.wasm"
    words = fakes.calls("zig")[0]["words"]
    assert {str(folder / "server.c"), str(folder / "list.c")} <= set(words)


def test_several_mains_want_a_choice(fakes: Fakes, folder: Path) -> None:
    (folder / "server.c").write_text(MAIN)
    (folder / "client.c").write_text("int\nmain (void)\n{\n}\n")
    (folder / "list.c").write_text("int list(void) { return 1; }\n")
    with pytest.raises(UsageError, match=r"2 programs: client\.c, server\.c") as caught:
        built(fakes, folder)
    assert caught.value.code == "program-needed"
    words = built(fakes, folder, program="client.c")[0]
    assert str(folder / "list.c") in words
    assert str(folder / "server.c") not in words


def test_a_build_system_of_its_own_is_not_run(fakes: Fakes, folder: Path) -> None:
    (folder / "hello.c").write_text(MAIN)
    (folder / "Makefile").touch()
    with pytest.raises(UsageError, match="a Makefile, which is not run here") as caught:
        built(fakes, folder)
    assert caught.value.code == "language-needed"
    assert "zig cc" in (caught.value.hint or "")
    assert built(fakes, folder, language="c")


@pytest.mark.parametrize("other", ["Cargo.toml", "go.mod", "build.zig", "package.json", "pyproject.toml"])
def test_c_inside_another_language_is_its_affair(tmp_path: Path, other: str) -> None:
    (tmp_path / "shim.c").touch()
    assert list(toolchains.seen(tmp_path)) == ["c"]
    (tmp_path / other).write_text("{}")
    assert "c" not in toolchains.seen(tmp_path)


def test_flags_that_cannot_be_split(fakes: Fakes, folder: Path) -> None:
    (folder / "hello.c").write_text(MAIN)
    fakes.environ["CFLAGS"] = "-DA='b"
    with pytest.raises(UsageError, match="CFLAGS") as caught:
        built(fakes, folder)
    assert caught.value.code == "words-invalid"


def test_no_c_at_all(fakes: Fakes, folder: Path) -> None:
    with pytest.raises(InputError, match="no C or C\\+\\+ files") as caught:
        built(fakes, folder, language="c")
    assert caught.value.code == "sources-unknown"


# -- zig itself


@pytest.mark.parametrize("platform", ["wasip2/wasm", "windows/amd64", "linux/mips64le"])
def test_a_platform_that_zig_is_not_asked_for(fakes: Fakes, folder: Path, platform: str) -> None:
    (folder / "hello.c").write_text(MAIN)
    with pytest.raises(UsageError, match=platform) as caught:
        built(fakes, folder, platform)
    assert caught.value.code == "platform-unbuildable"


def test_a_missing_zig_comes_from_pypi(fakes: Fakes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "hello.c").write_text(MAIN)
    (fakes.bin / "zig").rename(fakes.bin / "python-zig")
    built(fakes, folder)
    assert fakes.calls("zig")[0]["words"][0] == "cc", "PyPI's package brings it under another name"
    (fakes.bin / "python-zig").unlink()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match="zig is not on PATH") as caught:
        built(fakes, folder)
    assert caught.value.code == "toolchain-missing"
    assert (caught.value.hint or "").startswith("pip install ziglang")


def test_the_package_beside_us_is_zig_too(fakes: Fakes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "hello.c").write_text(MAIN)
    (fakes.bin / "zig").rename(fakes.bin / "elsewhere")
    package = fakes.folder / "site" / "ziglang"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text(
        f"import os, sys\nos.execv({str(fakes.bin / 'elsewhere')!r}, ['zig', *sys.argv[1:]])\n"
    )
    (package / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(package.parent)])
    fakes.environ["PYTHONPATH"] = str(package.parent)
    assert built(fakes, folder)[0][0] == "cc"


@pytest.mark.parametrize(
    "platform, triple",
    [("linux/arm/v7", "arm-linux-musleabihf"), ("linux/386", "x86-linux-musl"), ("wasip1/wasm", "wasm32-wasi")],
)
def test_targets_in_zigs_words(platform: str, triple: str) -> None:
    assert zig.target(Platform.parse(platform))[0] == triple
