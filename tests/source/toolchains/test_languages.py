"""Which road a folder goes: a Dockerfile or sources, and in which language."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocibuild.api.build import build
from ocibuild.api.resolve import resolve
from ocibuild.errors import InputError, UsageError
from ocibuild.source import toolchains
from tests.source.toolchains.fakes import PYTHON, SAMPLES, ZIG, Fakes, crate, module


@pytest.mark.parametrize("folder, language", [("rust/hello-docker", "rust"), ("go/hello", "go")])
def test_a_sample_shows_its_language(folder: str, language: str) -> None:
    assert list(toolchains.seen(SAMPLES / folder)) == [language]


def test_go_files_alone_are_no_module(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text("package main\n")
    assert toolchains.seen(tmp_path) == {}


def test_nothing_is_seen_in_an_empty_folder(fakes: Fakes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Dockerfile cannot be read") as caught:
        build(tmp_path, session=fakes.session())
    assert caught.value.code == "dockerfile-missing"
    with pytest.raises(InputError, match="no sources of a language") as unknown:
        build(tmp_path, language="auto", session=fakes.session())
    assert unknown.value.code == "sources-unknown"


def test_several_languages_want_a_choice(fakes: Fakes, tmp_path: Path) -> None:
    folder = crate(fakes, tmp_path / "a", targets=("wasm32-wasip1",))
    module(fakes, folder)
    with pytest.raises(UsageError, match=r"Rust \(Cargo\.toml\) and Go \(go\.mod\)") as caught:
        build(folder, session=fakes.session())
    assert caught.value.code == "language-needed"
    assert "--language rust" in (caught.value.hint or "")
    build(folder, language="go", dry_run=True, session=fakes.session())
    assert fakes.calls("go", "build")
    assert not fakes.calls("cargo", "build")


def test_a_language_that_is_not_known(fakes: Fakes, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'cobol'") as caught:
        build(tmp_path, language="cobol", session=fakes.session())
    assert caught.value.code == "language-unknown"


@pytest.mark.parametrize("language", ["c", "assemblyscript", "javascript", "python"])
def test_a_language_whose_sources_are_not_there(fakes: Fakes, tmp_path: Path, language: str) -> None:
    for name in ("zig", "node", "asc", "componentize-js", "componentize-py"):
        fakes.program(name)
    with pytest.raises(InputError) as caught:
        build(tmp_path, language=language, session=fakes.session())
    assert caught.value.code == "sources-unknown"


def test_a_folder_that_is_not_there(fakes: Fakes, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        build(tmp_path / "none", language="go", session=fakes.session())
    assert caught.value.code == "context-missing"


# -- a Dockerfile beside them


def test_a_dockerfile_goes_first_and_says_what_it_passed_over(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY go.mod /\nENTRYPOINT ["/go.mod"]\n')
    packed = build(folder, platforms=["wasi/wasm"], dry_run=True, session=fakes.session())
    assert packed.notes == ("the Dockerfile is built, not go.mod beside it; for that one: --language go",)
    assert not fakes.calls("go")
    named = build(folder, file=folder / "Dockerfile", platforms=["wasi/wasm"], dry_run=True, session=fakes.session())
    assert named.notes == ()
    text = (folder / "Dockerfile").read_bytes()
    assert build(folder, text=text, platforms=["wasi/wasm"], dry_run=True, session=fakes.session()).notes == ()


@pytest.mark.parametrize("said", [{"language": "go"}, {"language": "auto"}, {"program": "."}])
def test_sources_are_built_where_they_are_asked_for(fakes: Fakes, tmp_path: Path, said: dict[str, str]) -> None:
    folder = module(fakes, tmp_path / "a")
    (folder / "Dockerfile").write_text("FROM scratch\n")
    build(folder, dry_run=True, session=fakes.session(), language=said.get("language"), program=said.get("program"))
    assert fakes.calls("go", "build")
    told = [event.text for event in fakes.events if event.kind == "note"]
    assert told[0] == "building hello from its Go sources for wasi/wasm"


def test_both_roads_at_once_are_refused(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    with pytest.raises(UsageError, match="-f builds a Dockerfile"):
        build(folder, file="Dockerfile", language="go", session=fakes.session())
    with pytest.raises(UsageError, match="--build-arg is for a Dockerfile"):
        build(folder, build_args={"A": "1"}, session=fakes.session())
    with pytest.raises(UsageError, match="--target is for a Dockerfile"):
        build(folder, target="stage", session=fakes.session())
    (folder / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(UsageError, match="--tool-arg is for a toolchain"):
        build(folder, tool_args=["-v"], platforms=["wasi/wasm"], session=fakes.session())


# -- what pack can say, a build of sources can


def test_options_and_platforms_are_those_of_pack(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    packed = build(
        folder, platforms=["linux/arm64", "wasi/wasm,linux/x86_64"], label={"team": "a"}, session=fakes.session()
    )
    assert [str(entry.platform) for entry in packed.plan.images] == ["linux/amd64", "linux/arm64", "wasi/wasm"]  # type: ignore[union-attr]
    assert [artifact.path for artifact in packed.artifacts] == ["hello", "hello.wasm", "hello"]
    with pytest.raises(UsageError) as caught:
        build(folder, format="artifact", env={"A": "1"}, session=fakes.session())
    assert caught.value.code == "shape-conflict"


def test_one_platform_is_a_bare_manifest_named_after_the_program(fakes: Fakes, tmp_path: Path) -> None:
    packed = build(module(fakes, tmp_path / "a"), session=fakes.session())
    assert packed.descriptor.media_type == "application/vnd.oci.image.manifest.v1+json"
    assert packed.references == (f"oci:hello.oci@{packed.digest}",)
    assert packed.plan.config.image.process.entrypoint == ("/hello.wasm",)  # type: ignore[union-attr]


def test_platforms_for_one_wasm_twice_and_what_nobody_looks_for(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    with pytest.raises(UsageError) as caught:
        build(folder, platforms=["wasm"], session=fakes.session())
    assert caught.value.code == "platform-invalid"
    packed = build(folder, platforms=["wasi/wasm,wasi/wasm"], dry_run=True, session=fakes.session())
    assert len(packed.artifacts) == 1


def test_a_time_is_told_to_the_toolchain(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    fakes.environ["SOURCE_DATE_EPOCH"] = "1700000000"
    build(folder, dry_run=True, session=fakes.session())
    build(folder, dry_run=True, created="1800000000", session=fakes.session())
    assert [call["env"]["SOURCE_DATE_EPOCH"] for call in fakes.calls("go", "build")] == ["1700000000", "1800000000"]


@pytest.mark.parametrize("said", [{"format": "artifact"}, {"consumer": "wkg"}])
def test_a_shape_without_a_platform_is_built_for_one_all_the_same(
    fakes: Fakes, tmp_path: Path, said: dict[str, str]
) -> None:
    folder = crate(fakes, tmp_path / "a", targets=("wasm32-wasip2",))
    packed = build(folder, platforms=["wasip2/wasm"], session=fakes.session(), **said)
    assert packed.artifacts[0].kind == "component"
    assert packed.plan.shape == "artifact"  # type: ignore[union-attr]


def test_a_shape_that_is_none_is_told_before_anything_is_built(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    for said in ({"format": "tarball"}, {"consumer": "nobody"}, {"user": "0"}):
        try:
            build(folder, dry_run=True, session=fakes.session(), **said)
        except UsageError as error:
            assert error.code in ("shape-unknown", "consumer-unknown")
            assert not fakes.calls("go")
    assert fakes.calls("go", "build")


@pytest.mark.parametrize(
    "name, called",
    [("../../../evil", "evil"), ("a b\\n", "a-b"), ("..", "a"), ("a/b", "a-b"), ("hej-då", "hej-då"), ("", "a")],
)
def test_a_project_may_call_itself_anything(fakes: Fakes, tmp_path: Path, name: str, called: str) -> None:
    fakes.program("componentize-py", PYTHON)
    folder = tmp_path / "a"
    (folder / "wit").mkdir(parents=True)
    (folder / "app.py").touch()
    (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    packed = build(folder, dry_run=True, session=fakes.session())
    assert packed.artifacts[0].name == f"{called}.wasm"


def test_a_dockerfile_does_not_mind_what_stands_beside_it(fakes: Fakes, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text("{")
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY package.json /\nENTRYPOINT ["/package.json"]\n')
    assert build(tmp_path, platforms=["wasi/wasm"], dry_run=True, session=fakes.session()).notes == ()


def test_a_folder_reached_by_a_link_is_the_same(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    (tmp_path / "link").symlink_to(folder)
    build(tmp_path / "link", dry_run=True, session=fakes.session())
    assert fakes.calls("go", "build")[0]["words"][-1] == "."


def test_resolve_builds_what_kubernetes_can_run(fakes: Fakes, tmp_path: Path) -> None:
    module(fakes, tmp_path / "a")
    (tmp_path / "app.yaml").write_text("image: ocibuild://a\n")
    made = resolve(tmp_path / "app.yaml", repo="localhost:5000/team", dry_run=True, session=fakes.session())
    packed = build(tmp_path / "a", dry_run=True, consumer="kubernetes", session=fakes.session())
    assert packed.plan.shape == "wasm-layer"  # type: ignore[union-attr]
    assert made.images[0].reference == f"localhost:5000/team/a@{packed.digest}"
    assert made.text.startswith("image: localhost:5000/team/a@sha256:")


def test_the_folder_above_has_its_name_too(fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.program("zig", ZIG)
    (tmp_path / "program-x" / "below").mkdir(parents=True)
    (tmp_path / "program-x" / "main.c").write_text("int main(void) { return 0; }\n")
    monkeypatch.chdir(tmp_path / "program-x" / "below")
    assert build("..", dry_run=True, session=fakes.session()).artifacts[0].name == "program-x.wasm"
