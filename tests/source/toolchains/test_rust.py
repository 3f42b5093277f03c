"""What cargo is asked for, and what is said where Rust lacks something; the compiler itself is in tests/api."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ocibuild.api.build import build
from ocibuild.errors import InputError, ToolError, UsageError
from tests.source.toolchains.fakes import CARGO, Fakes, crate

MUSL, GNU, WASM = "x86_64-unknown-linux-musl", "x86_64-unknown-linux-gnu", "wasm32-wasip1"


def built(fakes: Fakes, folder: Path, *platforms: str, **said: object) -> dict[str, list[str]]:
    """The words of each cargo build, by its target."""
    build(folder, platforms=platforms, dry_run=True, session=fakes.session(), **said)  # type: ignore[arg-type]
    calls = [call["words"] for call in fakes.calls("cargo", "build")]
    return {words[words.index("--target") + 1]: words for words in calls}


def flags(words: list[str], triple: str) -> list[str]:
    """The flags for rustc that cargo is given for a target."""
    prefix = f"target.{triple}.rustflags="
    found = [word.removeprefix(prefix) for word in words if word.startswith(prefix)]
    assert len(found) == 1
    said: list[str] = json.loads(found[0])
    return said


def test_wasm_is_what_is_built_where_nothing_is_said(fakes: Fakes, tmp_path: Path) -> None:
    words = built(fakes, crate(fakes, tmp_path / "a", targets=(MUSL, WASM)))[WASM]
    assert words[:4] == ["build", "--release", "--target", WASM]
    assert words[words.index("--target-dir") + 1] == str(tmp_path / "a" / "target" / "ocibuild" / WASM)
    assert words[words.index("--bin") + 1] == "hello"
    assert "target-feature=+crt-static" not in flags(words, WASM)


def test_musl_goes_before_gnu_and_both_are_asked_for_statically(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", targets=(GNU, MUSL))
    assert "target-feature=+crt-static" in flags(built(fakes, folder, "linux/amd64")[MUSL], MUSL)


def test_gnu_is_taken_where_musl_is_not_installed(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", targets=(GNU,))
    assert "target-feature=+crt-static" in flags(built(fakes, folder, "linux/amd64")[GNU], GNU)


def test_a_lock_is_kept_to_where_there_is_one(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", targets=(WASM,))
    assert "--locked" not in built(fakes, folder)[WASM]
    (folder / "Cargo.lock").touch()
    build(folder, dry_run=True, session=fakes.session())
    assert "--locked" in fakes.calls("cargo", "build")[-1]["words"]


def test_folders_of_this_machine_are_kept_out(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a b", targets=(WASM,))
    said = flags(built(fakes, folder)[WASM], WASM)
    assert f"--remap-path-prefix={folder}=/src" in said
    assert f"--remap-path-prefix={fakes.folder / '.cargo'}=/cargo" in said
    assert fakes.calls("cargo", "build")[0]["env"]["SOURCE_DATE_EPOCH"] == "0"


def test_wasip2_is_a_target_of_its_own(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", targets=("wasm32-wasip2", WASM))
    assert set(built(fakes, folder, "wasip2/wasm")) == {"wasm32-wasip2"}


def test_an_old_rust_calls_it_wasi(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", targets=("wasm32-wasi",))
    fakes.environ["FAKE_KNOWN"] = f"{GNU} wasm32-wasi"
    assert set(built(fakes, folder, "wasi/wasm")) == {"wasm32-wasi"}


def test_another_machine_has_another_linker(fakes: Fakes, tmp_path: Path) -> None:
    triple = "aarch64-unknown-linux-musl"
    folder = crate(fakes, tmp_path / "a", targets=(MUSL, triple))
    words = built(fakes, folder, "linux/arm64,linux/amd64")
    assert f'target.{triple}.linker="rust-lld"' in words[triple]
    assert not any(".linker=" in word for word in words[MUSL])


def test_a_linker_that_the_project_names_stays(fakes: Fakes, tmp_path: Path) -> None:
    triple = "aarch64-unknown-linux-musl"
    folder = crate(fakes, tmp_path / "a", targets=(triple,))
    (folder / ".cargo").mkdir()
    (folder / ".cargo" / "config.toml").write_text(f'[target.{triple}]\nlinker = "aarch64-linux-musl-gcc"\n')
    assert not any(".linker=" in word for word in built(fakes, folder, "linux/arm64")[triple])


def test_flags_of_the_projects_settings_are_not_lost(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", targets=(MUSL,))
    (tmp_path / ".cargo").mkdir()
    (tmp_path / ".cargo" / "config.toml").write_text('[build]\nrustflags = ["--cfg", "tokio_unstable"]\n')
    assert flags(built(fakes, folder, "linux/amd64")[MUSL], MUSL)[:2] == ["--cfg", "tokio_unstable"]


def test_flags_of_a_target_keep_those_of_build_out_as_in_cargo(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", targets=(MUSL,))
    fakes.environ["CARGO_BUILD_RUSTFLAGS"] = "--cfg all"
    assert flags(built(fakes, folder, "linux/amd64")[MUSL], MUSL)[:2] == ["--cfg", "all"]
    fakes.environ["CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS"] = "--cfg one"
    assert "all" not in flags(built(fakes, folder, "linux/amd64")[MUSL], MUSL)


@pytest.mark.parametrize(
    "name, value", [("RUSTFLAGS", "--cfg  tokio_unstable"), ("CARGO_ENCODED_RUSTFLAGS", "--cfg\x1ftokio_unstable")]
)
def test_flags_of_the_environment_are_joined(fakes: Fakes, tmp_path: Path, name: str, value: str) -> None:
    folder = crate(fakes, tmp_path / "a", targets=(MUSL,))
    fakes.environ[name] = value
    build(folder, platforms=["linux/amd64"], dry_run=True, session=fakes.session())
    call = fakes.calls("cargo", "build")[0]
    said = call["env"]["CARGO_ENCODED_RUSTFLAGS"].split("\x1f")
    assert said[:4] == ["--cfg", "tokio_unstable", "-C", "target-feature=+crt-static"]
    assert not any(".rustflags=" in word for word in call["words"])


def test_the_level_of_the_processor_is_the_variant(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", targets=(MUSL,))
    assert "target-cpu=x86-64-v3" in flags(built(fakes, folder, "linux/amd64/v3")[MUSL], MUSL)


def test_arguments_go_to_cargo(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", targets=(WASM,))
    assert built(fakes, folder, tool_args=["--features=tls"])[WASM][-1] == "--features=tls"


# -- which program


def test_one_of_several_binaries_is_chosen_by_name(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", "server", "client", targets=(WASM,))
    with pytest.raises(UsageError, match="2 programs: server, client") as caught:
        built(fakes, folder)
    assert (caught.value.code, caught.value.hint) == (
        "program-needed",
        "choose one with --program, for example --program server",
    )
    words = built(fakes, folder, program="client")[WASM]
    assert words[words.index("--bin") + 1] == "client"


def test_the_crate_itself_may_say_which_is_run(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", "server", "client", targets=(WASM,), default_run="client")
    words = built(fakes, folder)[WASM]
    assert words[words.index("--bin") + 1] == "client"


def test_a_binary_that_is_not_there_names_those_that_are(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", "server", targets=(WASM,))
    with pytest.raises(UsageError, match="no binary klient") as caught:
        built(fakes, folder, program="klient")
    assert (caught.value.code, caught.value.hint) == ("program-unknown", "there is server")


# -- what is missing


def test_a_missing_target_names_the_command_that_installs_it(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", targets=(GNU,))
    with pytest.raises(ToolError, match="wasm32-wasip1 is not installed") as caught:
        built(fakes, folder)
    assert (caught.value.code, caught.value.hint) == ("toolchain-missing", "rustup target add wasm32-wasip1")
    with pytest.raises(ToolError) as caught:
        built(fakes, folder, "linux/arm64")
    assert caught.value.hint == "rustup target add aarch64-unknown-linux-musl"
    assert fakes.calls("cargo", "build") == []


def test_a_rust_without_rustup_is_told_otherwise(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", targets=(GNU,))
    (fakes.bin / "rustup").unlink()
    with pytest.raises(ToolError) as caught:
        built(fakes, folder)
    assert "libstd-rust-dev-wasm32" in (caught.value.hint or "")


def test_no_rust_at_all(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a")
    (fakes.bin / "cargo").unlink()
    with pytest.raises(ToolError, match="cargo is not on PATH") as caught:
        built(fakes, folder)
    assert caught.value.code == "toolchain-missing"
    assert "rustup.rs" in (caught.value.hint or "")


@pytest.mark.parametrize("platform", ["windows/amd64", "linux/mips64le", "wasip3/wasm"])
def test_a_platform_that_rust_is_not_asked_for(fakes: Fakes, tmp_path: Path, platform: str) -> None:
    folder = crate(fakes, tmp_path / "a", targets=(GNU, WASM))
    with pytest.raises(UsageError, match=platform) as caught:
        built(fakes, folder, platform)
    assert caught.value.code == "platform-unbuildable"


@pytest.mark.parametrize("said", ["no json", "[]", '{"packages": [{}]}'])
def test_an_answer_of_cargos_that_makes_no_sense(fakes: Fakes, tmp_path: Path, said: str) -> None:
    folder = crate(fakes, tmp_path / "a", targets=(WASM,))
    fakes.environ["FAKE_METADATA"] = said
    with pytest.raises(InputError, match="cargo says") as caught:
        built(fakes, folder)
    assert caught.value.code == "sources-invalid"


def test_a_manifest_that_cargo_does_not_take(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", targets=(WASM,))
    fakes.program("cargo", 'print("error: expected `=`\\n --> Cargo.toml:2", file=sys.stderr); sys.exit(101)')
    with pytest.raises(
        InputError, match=r"cargo metadata failed in .*a: error: expected `=` --> Cargo\.toml:2"
    ) as caught:
        built(fakes, folder)
    assert caught.value.code == "sources-invalid"


def test_a_build_that_wrote_elsewhere(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", targets=(WASM,))
    fakes.program("cargo", CARGO.replace("/release/", "/elsewhere/"))
    with pytest.raises(ToolError, match=r"ended well, and wrote no .*hello\.wasm") as caught:
        built(fakes, folder)
    assert caught.value.code == "build-failed"
