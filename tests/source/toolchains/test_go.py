"""What go is asked for, and what is said where it cannot; the compiler itself is in tests/api."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from ocibuild.api.build import build
from ocibuild.errors import InputError, ToolError, UsageError
from tests.source.toolchains.fakes import Fakes, module


def built(fakes: Fakes, folder: Path, *platforms: str, **said: Any) -> dict[str, dict[str, Any]]:
    """Each call of go build, by its GOARCH."""
    build(folder, platforms=platforms, dry_run=True, session=fakes.session(), **said)
    return {call["env"]["GOARCH"]: call for call in fakes.calls("go", "build")}


def test_the_flags_that_people_forget(fakes: Fakes, tmp_path: Path) -> None:
    calls = built(fakes, module(fakes, tmp_path / "a"), "wasi/wasm,linux/amd64,linux/arm64")
    assert {arch: (call["env"]["GOOS"], call["env"]["CGO_ENABLED"]) for arch, call in calls.items()} == {
        "wasm": ("wasip1", "0"),
        "amd64": ("linux", "0"),
        "arm64": ("linux", "0"),
    }
    for call in calls.values():
        assert {"-trimpath", "-ldflags=-s -w -buildid=", "-buildvcs=false"} <= set(call["words"])
        assert call["words"][-1] == "."


def test_gits_revision_is_in_it_on_request(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    commit = ["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "a"]
    for words in (["init", "-q"], ["add", "."], commit):
        subprocess.run(["git", *words], cwd=folder, check=True, timeout=20)
    assert "-buildvcs=auto" in built(fakes, folder, git=True)["wasm"]["words"]


@pytest.mark.parametrize(
    "platform, arch, name, value",
    [
        ("linux/arm/v6", "arm", "GOARM", "6"),
        ("linux/arm/v7", "arm", "GOARM", "7"),
        ("linux/amd64/v3", "amd64", "GOAMD64", "v3"),
        ("linux/amd64", "amd64", "GOAMD64", "v1"),
        ("linux/arm64/v9", "arm64", "GOARM64", "v9.0"),
    ],
)
def test_variants_have_variables(fakes: Fakes, tmp_path: Path, platform: str, arch: str, name: str, value: str) -> None:
    folder = module(fakes, tmp_path / "a")
    fakes.environ |= {"GOAMD64": "v4", "GOARM": "5"}
    if arch == "arm":  # the stand-in has no program for it
        with pytest.raises(ToolError, match="a program for linux/amd64") as caught:
            built(fakes, folder, platform)
        assert caught.value.code == "build-mismatch"
    else:
        built(fakes, folder, platform)
    assert fakes.calls("go", "build")[0]["env"][name] == value


def test_linker_flags_of_the_person_join_ours(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    words = built(fakes, folder, tool_args=["-ldflags=-X main.version=1.2", "-tags=netgo"])["wasm"]["words"]
    assert "-ldflags=-s -w -buildid= -X main.version=1.2" in words
    assert "-tags=netgo" in words


# -- which program


def test_the_only_main_package_below_is_built(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a", "cmd/server")
    packed = build(folder, session=fakes.session())
    assert packed.references[0].startswith("oci:server.oci@")
    assert fakes.calls("go", "build")[0]["words"][-1] == "./cmd/server"


def test_one_of_several_is_chosen_by_its_folder(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a", "cmd/server", "cmd/client")
    with pytest.raises(UsageError, match=r"2 programs: \./cmd/server, \./cmd/client") as caught:
        built(fakes, folder)
    assert caught.value.code == "program-needed"
    assert "--program ./cmd/server" in (caught.value.hint or "")


@pytest.mark.parametrize("program, asked", [("./cmd/server", "./cmd/server"), ("cmd/server", "./cmd/server")])
def test_a_chosen_one_is_asked_for(fakes: Fakes, tmp_path: Path, program: str, asked: str) -> None:
    folder = module(fakes, tmp_path / "a", "cmd/server")
    (folder / "cmd" / "server").mkdir(parents=True)
    words = built(fakes, folder, program=program)["wasm"]["words"]
    assert fakes.calls("go", "list")[0]["words"][-1] == asked
    assert words[-1] == "example.com/hello/cmd/server"


def test_a_library_is_no_program(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    fakes.environ["FAKE_LIST"] = f"hello\texample.com/hello\t{folder}"
    with pytest.raises(UsageError, match="no main package") as caught:
        built(fakes, folder)
    assert caught.value.code == "program-unknown"
    with pytest.raises(UsageError, match="is package hello, not main") as caught:
        built(fakes, folder, program="./.")
    assert caught.value.code == "program-unknown"


@pytest.mark.parametrize(
    "path, name", [("example.com/tool/v2", "tool"), ("example.com/v1", "v1"), ("hello", "hello"), ("a.b/cmd/x", "x")]
)
def test_a_program_is_called_as_go_install_has_it(fakes: Fakes, tmp_path: Path, path: str, name: str) -> None:
    folder = module(fakes, tmp_path / "a")
    fakes.environ["FAKE_LIST"] = f"main\t{path}\t{folder}"
    assert build(folder, session=fakes.session()).artifacts[0].name == f"{name}.wasm"


def test_a_folder_below_a_module_is_sources_too(fakes: Fakes, tmp_path: Path) -> None:
    module(fakes, tmp_path / "a")
    below = tmp_path / "a" / "cmd" / "x"
    below.mkdir(parents=True)
    (below / "main.go").write_text("package main\n")
    fakes.environ["FAKE_LIST"] = f"main\texample.com/hello/cmd/x\t{below}"
    assert built(fakes, below)["wasm"]["folder"] == str(below)


# -- what cannot be


def test_an_old_go_has_no_wasi(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    fakes.environ["FAKE_TARGETS"] = "linux/amd64"
    with pytest.raises(UsageError) as caught:
        built(fakes, folder)
    assert caught.value.code == "platform-unbuildable"
    assert "1.21" in (caught.value.hint or "")


@pytest.mark.parametrize("platform", ["wasip2/wasm", "linux/mips64le", "js/wasm"])
def test_a_platform_that_go_is_not_asked_for(fakes: Fakes, tmp_path: Path, platform: str) -> None:
    with pytest.raises(UsageError, match=platform) as caught:
        built(fakes, module(fakes, tmp_path / "a"), platform)
    assert caught.value.code == "platform-unbuildable"


def test_no_go_at_all(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    (fakes.bin / "go").unlink()
    with pytest.raises(ToolError, match="go is not on PATH") as caught:
        built(fakes, folder)
    assert caught.value.code == "toolchain-missing"


def test_a_module_that_go_does_not_take(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    fakes.program("go", 'sys.exit("go: errors parsing go.mod" if words[0] == "list" else 0)')
    with pytest.raises(UsageError):  # it knows no target at all
        built(fakes, folder)
    fakes.program("go", 'if words[0] == "list": sys.exit("go: errors parsing go.mod")\nprint("wasip1/wasm")')
    with pytest.raises(InputError, match=r"go list failed in .*: go: errors parsing go\.mod") as caught:
        built(fakes, folder)
    assert caught.value.code == "sources-invalid"
