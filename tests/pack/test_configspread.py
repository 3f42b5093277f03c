"""One table, many targets; variables; groups of groups; targets that are built: what a bake reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocibuild.errors import UsageError
from ocibuild.pack import configfile
from ocibuild.pack.configfile import ConfigFile
from ocibuild.pack.options import Sources
from tests.pack.judges import verdicts


def config(folder: Path, text: str, said: dict[str, str] | None = None, **environ: str) -> ConfigFile:
    path = folder / "ocibuild.toml"
    path.write_text("schema = 1\n" + text)
    return configfile.read(path, said, environ)


def refused(folder: Path, text: str, said: dict[str, str] | None = None) -> UsageError:
    def whole() -> None:
        file = config(folder, text, said)
        assert file.groups is not None
        for name in file.targets:
            file.target(name)

    with pytest.raises(UsageError) as caught:
        whole()
    return caught.value


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


# --- matrix


def test_a_matrix_makes_a_target_of_every_combination(tmp_path: Path) -> None:
    file = config(
        tmp_path,
        """
        [targets.fn]
        matrix = { lang = ["rust", "go"], level = [1, 2] }
        files = ["${matrix.lang}.wasm"]
        tags = ["localhost/fn:${matrix.lang}-${matrix.level}"]
        env = { LEVEL = "${matrix.level}", WHO = "${target}" }
        """,
    )
    assert file.targets == ("fn-rust-1", "fn-rust-2", "fn-go-1", "fn-go-2")
    found = file.target("fn-go-2")
    assert (found.files, found.tags) == ((str(tmp_path / "go.wasm"),), ("localhost/fn:go-2",))
    assert found.options.env == ("LEVEL=2", "WHO=fn-go-2")
    assert file.groups == {"fn": file.targets}


def test_names_are_templates_too(tmp_path: Path) -> None:
    text = '[vars]\nv = "7"\n[targets."${matrix.a}-of-${v}"]\nmatrix = { a = ["x", "${v}"] }\n[targets.plain]'
    file = config(tmp_path, text)
    assert file.targets == ("x-of-7", "7-of-7", "plain")
    assert file.groups == {"${matrix.a}-of-${v}": ("x-of-7", "7-of-7")}


def test_a_matrix_is_not_inherited(tmp_path: Path) -> None:
    text = '[targets.a]\nmatrix = { n = ["1"] }\nuser = "${matrix.n}"\n[targets.b]\ninherits = ["a"]\nuser = "2"'
    file = config(tmp_path, text)
    assert file.targets == ("a-1", "b")
    assert file.target("b").options.user == "2"
    error = refused(tmp_path, text.replace('user = "2"', ""))
    assert error.code == "config-variable-unknown"
    assert "not inherited" in (error.hint or "")


# --- each


def test_each_makes_a_target_of_every_file_that_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "artifacts/b.wasm", "artifacts/a.wasm", "artifacts/notes.txt", "artifacts/.hidden.wasm")
    text = '[targets."f-${stem}"]\neach = "artifacts/*.wasm"\ntags = ["localhost/${stem}:${name}"]\ncmd = "${path}"'
    file = config(tmp_path, text)
    assert file.targets == ("f-a", "f-b")
    found = file.target("f-b")
    assert found.files == (str(tmp_path / "artifacts/b.wasm"),)
    assert (found.tags, found.options.cmd) == (("localhost/b:b.wasm",), "artifacts/b.wasm")


def test_each_may_be_folders_to_build_and_goes_with_a_matrix(tmp_path: Path) -> None:
    touch(tmp_path, "services/one/main.go", "services/two/Cargo.toml", "services/readme")
    text = '[targets.s]\neach = ["services/*/"]\nmatrix = { level = ["1", "2"] }\nbuild = "${path}"'
    file = config(tmp_path, text)
    assert file.targets == ("s-1-one", "s-1-two", "s-2-one", "s-2-two")
    sources = file.target("s-2-two").sources
    assert sources is not None
    assert sources.build == str(tmp_path / "services/two")


def test_patterns_in_files_are_what_fits_them_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "dist/app-linux-arm64", "dist/app-linux-amd64", "dist/deep/app-x", "a[1].wasm")
    file = config(tmp_path, '[targets.a]\nfiles = ["dist/app-*", "dist/**/app-x", "a[1].wasm", "s3://b/*.wasm"]')
    names = ("dist/app-linux-amd64", "dist/app-linux-arm64", "dist/deep/app-x", "a[1].wasm")
    assert file.target("a").files == (*(str(tmp_path / name) for name in names), "s3://b/*.wasm")


@pytest.mark.parametrize("key", ["each = 'none/*.wasm'", "files = ['none/*.wasm']"])
def test_a_pattern_that_fits_nothing_is_told_with_its_line(key: str, tmp_path: Path) -> None:
    error = refused(tmp_path, f"[targets.a]\n{key}")
    assert error.code == "config-glob-empty"
    assert ":3: targets.a." in str(error)
    assert "none/*.wasm" in str(error)


# --- variables


def test_what_is_said_goes_over_the_environment_and_that_over_the_default(tmp_path: Path) -> None:
    text = """
        [vars]
        plain = "p"
        seen = { default = "d", env = "SEEN" }
        unseen = "u"
        both = "${plain}-${seen}"
        [targets.a]
        tags = ["localhost/x:${plain}.${seen}.${unseen}.${both}"]
        """
    environ = {"SEEN": "environment", "unseen": "no", "UNSEEN": "no", "plain": "no"}

    def tag(**said: str) -> str:
        return config(tmp_path, text, said, **environ).target("a").tags[0]

    assert tag() == "localhost/x:p.environment.u.p-environment"
    assert tag(seen="said", plain="${unseen}") == "localhost/x:${unseen}.said.u.${unseen}-said"


@pytest.mark.parametrize(
    "text, said, code, where",
    [
        ("[vars]\na = {}\n[targets.t]\nuser = '${a}'", {}, "config-variable-unset", ":3: vars.a has no value"),
        ("[vars]\na = { description = 'who' }\n[targets.t]\nuser = '${a}'", {}, "config-variable-unset", "no value: who"),
        ("[vars]\na = '${b}'\nb = '${a}'\n[targets.t]\nuser = '${a}'", {}, "config-invalid", "by way of a and b"),
        ("[vars]\na = '${c}'\n[targets.t]\nuser = '${a}'", {}, "config-variable-unknown", ":3: vars.a ${c} is not"),
        ("[vars]\nversion = '1'\n[targets.t]", {"verion": "2"}, "config-variable-unknown", "--set verion"),
        ("[vars]\na = { defualt = '1' }\n[targets.t]", {}, "config-key-unknown", ":3: vars.a.defualt"),
        ("[vars]\ntarget = '1'\n[targets.t]", {}, "config-invalid", ":3: vars.target is taken"),
        ("[vars]\nstem = '1'\n[targets.t]\neach = '*.toml'", {}, "config-invalid", ":3: vars.stem is taken"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_variables(text: str, said: dict[str, str], code: str, where: str, tmp_path: Path) -> None:
    error = refused(tmp_path, text, said)
    assert error.code == code
    assert where in str(error)


# --- groups


def test_groups_hold_targets_groups_and_tables_each_target_once(tmp_path: Path) -> None:
    text = """
        [targets.a]
        [targets.m]
        matrix = { n = ["1", "2"] }
        [targets.z]
        [groups]
        inner = ["m", "a"]
        outer = ["z", "inner", "m-1"]
        """
    file = config(tmp_path, text)
    assert file.groups["inner"] == ("m-1", "m-2", "a")
    assert file.groups["outer"] == ("z", "m-1", "m-2", "a")


@pytest.mark.parametrize(
    "text, where",
    [
        ("groups = { a = ['b'], b = ['a'] }\n[targets.t]", "groups.a leads back to itself, by way of a and b"),
        ("groups = { t = [] }\n[targets.t]", "groups.t is called like a target"),
        ("groups = { a = ['mm'] }\n[targets.m]\nmatrix = { n = ['1'] }", "groups.a names 'mm', which is no target"),
    ],
)
def test_what_is_wrong_with_groups(text: str, where: str, tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    assert error.code == "config-invalid"
    assert f":2: {where}" in str(error)


# --- targets that are built


def test_a_target_is_built_with_all_that_build_takes(tmp_path: Path) -> None:
    text = """
        [defaults]
        engine = "buildah"
        build-arg = { A = "default", B = "b" }
        [targets.base]
        files = ["x.wasm"]
        [targets.a]
        build = "src"
        dockerfile = "docker/File"
        target = "last"
        platform = ["linux/amd64"]
        build-arg = { A = 1 }
        build-context = { x = "target:base", y = "out", z = "docker-image://localhost/z:1" }
        secret = ["id=token,src=token"]
        ssh = ["default"]
        tool-arg = ["--offline"]
        needs = ["late"]
        [targets.late]
        """
    found = config(tmp_path, text).target("a")
    assert found.sources == Sources(
        build=str(tmp_path / "src"),
        dockerfile=str(tmp_path / "docker/File"),
        target="last",
        build_arg=("A=1", "B=b"),
        build_context=("x=target:base", f"y={tmp_path / 'out'}", "z=docker-image://localhost/z:1"),
        engine="buildah",
        secret=("id=token,src=token",),
        ssh=("default",),
        tool_arg=("--offline",),
    )
    assert found.needs == ("late", "base")
    assert found.options.platform == ("linux/amd64",)
    assert config(tmp_path, text).target("base").sources is None


@pytest.mark.parametrize(
    "text, code, where",
    [
        ("[targets.a]\nbuild = '.'\nfiles = ['x']", "config-invalid", ":4: targets.a.files stands beside build"),
        ("[targets.a]\nlanguage = 'rust'", "config-invalid", ":3: targets.a.language is for a target with build"),
        ("[defaults]\nbuild = '.'\n[targets.a]", "config-key-unknown", ":3: defaults.build is not known"),
        ("[targets.a]\nmatrix = { n = [] }", "config-invalid", ":3: targets.a.matrix.n is empty"),
        ("[targets.a]\nmatrix = { n = 'x' }", "config-invalid", ":3: targets.a.matrix.n is not an array"),
        ("[targets.a]\neach = 1", "config-invalid", ":3: targets.a.each is not a pattern"),
        ("[targets.a]\nmatrix = { n = ['1', '1'] }", "config-invalid", ":2: targets.a makes a target 'a-1'"),
        ("[targets.a-1]\n[targets.a]\nmatrix = { n = ['1'] }", "config-invalid", "comes of targets.a-1 too"),
    ],
)
def test_what_is_wrong_with_targets(text: str, code: str, where: str, tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    assert error.code == code
    assert where in str(error)


def test_pack_refuses_a_target_that_is_built(tmp_path: Path) -> None:
    import ocibuild

    config(tmp_path, "[targets.a]\nbuild = '.'")
    with pytest.raises(UsageError, match="built from sources") as caught:
        ocibuild.pack(config=tmp_path, target="a")
    assert caught.value.hint == "ocibuild bake a builds it"
    with pytest.raises(UsageError, match="takes no files"):
        ocibuild.pack("x.wasm", config=tmp_path, target="a")


# --- the schema says the same


@pytest.mark.parametrize(
    "document, fits",
    [
        ({"vars": {"a": "b", "c": {"default": "d", "env": "E", "description": "f"}, "g": {}}}, True),
        ({"vars": {"a": {"value": "x"}}}, False),
        ({"targets": {"a": {"matrix": {"n": ["1", 2]}, "each": "*", "needs": ["a"]}}}, True),
        ({"targets": {"a": {"each": ["*", "?"], "build": ".", "build-arg": {"A": 1}}}}, True),
        ({"targets": {"a": {"matrix": {"n": []}}}}, False),
        ({"targets": {"a": {"matrix": {"n": "1"}}}}, False),
        ({"targets": {"a": {"each": 1}}}, False),
        ({"targets": {"a": {"build": True}}}, False),
        ({"defaults": {"engine": "none", "tool-arg": ["x"]}}, True),
        ({"defaults": {"dockerfile": "x"}}, False),
        ({"defaults": {"matrix": {}}}, False),
    ],
)
def test_the_schema_and_the_reader_agree(document: dict[str, object], fits: bool, tmp_path: Path) -> None:
    assert verdicts({"schema": 1, **document}, tmp_path) == [fits, fits]
