"""The config file: what it may say, what goes over what, and errors that name line and key."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import ocibuild
from ocibuild.errors import UsageError
from ocibuild.pack import configfile, configlines, configschema
from ocibuild.pack.options import Options, about
from ocibuild.spec import schema
from tests.pack.judges import verdicts

MODULE = b"\0asm\1\0\0\0"


def wrote(folder: Path, text: str, name: str = "ocibuild.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refused(folder: Path, text: str, name: str = "ocibuild.toml", target: str | None = None) -> UsageError:
    with pytest.raises(UsageError) as caught:
        configfile.read(wrote(folder, text, name)).target(target)
    return caught.value


def target(folder: Path, text: str, name: str | None = None) -> configfile.Target:
    return configfile.read(wrote(folder, text)).target(name)


# --- what it may say


def test_every_option_can_be_said_and_reaches_its_field(tmp_path: Path) -> None:
    said = {"text": '"text"', "switch": "true", "list": '["one", "two"]', "table": '{ KEY = "value" }'}
    keys = configfile.keys()
    lines = [f"{key} = {said[about()[name].form]}" for key, name in keys.items()]
    options = target(tmp_path, "schema = 1\n[targets.a]\n" + "\n".join(lines)).options
    expected = {"text": "text", "switch": True, "list": ("one", "two"), "table": ("KEY=value",)}
    assert set(keys.values()) == {field.name for field in fields(Options)}
    for name in keys.values():
        wanted = expected[about()[name].form]
        found = getattr(options, name)
        assert found == (tuple(str(tmp_path / item) for item in ("one", "two")) if name == "add" else wanted), name


def test_keys_are_the_flags_without_their_dashes() -> None:
    keys = configfile.keys()
    assert (keys["for"], keys["stop-signal"], keys["ca-certs"], keys["env"]) == (
        "consumer", "stop_signal", "ca_certs", "env",
    )  # fmt: skip


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path)
    wrote(tmp_path / "project", 'schema = 1\n[targets.a]\nfiles = ["a.wasm", "/b"]\nadd = ["conf:/etc:0600", "/x:/y"]')
    found = configfile.read("project/ocibuild.toml").target()
    assert found.files == ("project/a.wasm", "/b")
    assert found.options.add == ("project/conf:/etc:0600", "/x:/y")


def test_words_may_be_an_array(tmp_path: Path) -> None:
    found = target(tmp_path, 'schema = 1\n[targets.a]\nentrypoint = ["/a b", "ü"]\ncmd = "one two"')
    assert found.options.entrypoint == '["/a b", "ü"]'
    assert found.options.cmd == "one two"


def test_numbers_may_stand_for_ports_and_values(tmp_path: Path) -> None:
    found = target(tmp_path, "schema = 1\n[targets.a]\nexpose = [8080]\nenv = { PORT = 8080 }")
    assert found.options.expose == ("8080",)
    assert found.options.env == ("PORT=8080",)


def test_variables_are_filled_in_and_two_dollars_are_one(tmp_path: Path) -> None:
    text = """
        schema = 1
        vars = { version = "1.2", name = "hello" }
        [targets.a]
        files = ["${name}.wasm"]
        tags = ["ghcr.io/me/${name}:${version}"]
        env = { PRICE = "$$5", SHELL = "$${HOME}", PLAIN = "$HOME" }
        entrypoint = ["/${name}"]
    """
    found = target(tmp_path, text)
    assert found.files == (str(tmp_path / "hello.wasm"),)
    assert found.tags == ("ghcr.io/me/hello:1.2",)
    assert found.options.env == ("PRICE=$5", "SHELL=${HOME}", "PLAIN=$HOME")
    assert found.options.entrypoint == '["/hello"]'


# --- what goes over what

LAYERED = """
schema = 1
[defaults]
author = "defaults"
user = "defaults"
env = { D = "defaults", X = "defaults" }
expose = ["1", "2"]
[targets.base]
user = "base"
author = "base"
env = { B = "base", X = "base" }
tags = ["localhost/base:1"]
[targets.app]
inherits = ["base"]
author = "app"
env = { A = "app", X = "app" }
[targets.last]
inherits = ["base", "app"]
expose = ["9"]
[targets.plain]
"""


def test_target_over_inherited_over_defaults(tmp_path: Path) -> None:
    found = target(tmp_path, LAYERED, "app")
    assert (found.options.author, found.options.user, found.tags) == ("app", "base", ("localhost/base:1",))


def test_tables_merge_and_lists_replace(tmp_path: Path) -> None:
    found = target(tmp_path, LAYERED, "last").options
    assert dict(text.split("=") for text in found.env) == {"D": "defaults", "B": "base", "A": "app", "X": "app"}
    assert found.expose == ("9",)
    assert target(tmp_path, LAYERED, "plain").options.expose == ("1", "2")


def test_flags_go_over_the_target(tmp_path: Path) -> None:
    path = wrote(tmp_path, LAYERED)
    said = Options(author="flag", env=("X=flag", "F=flag"), expose=("7",), nonroot=True)
    found = configfile.asked(path, "app", ["mine.wasm"], ["localhost/mine:1"], said)
    assert (found.files, found.tags) == (("mine.wasm",), ("localhost/mine:1",))
    assert (found.options.author, found.options.user, found.options.nonroot) == ("flag", "base", True)
    assert dict(text.split("=") for text in found.options.env) == {
        "D": "defaults", "B": "base", "A": "app", "X": "flag", "F": "flag",
    }  # fmt: skip
    assert found.options.expose == ("7",)


def test_nothing_is_read_without_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wrote(tmp_path, "this is not TOML")
    (tmp_path / "a.wasm").write_bytes(MODULE)
    assert ocibuild.pack("a.wasm", dry_run=True).digest


def test_packing_by_config_is_packing_by_flags(tmp_path: Path) -> None:
    (tmp_path / "a.wasm").write_bytes(MODULE)
    path = wrote(tmp_path, 'schema = 1\n[targets.a]\nfiles = ["a.wasm"]\nlabel = { team = "x" }\nuser = "7"')
    by_config = ocibuild.pack(config=path, dry_run=True)
    by_flags = ocibuild.pack(tmp_path / "a.wasm", label={"team": "x"}, user="7", dry_run=True)
    bare = ocibuild.pack(tmp_path / "a.wasm", dry_run=True)
    assert by_config.digest == by_flags.digest != bare.digest


def test_the_only_target_needs_no_name_and_one_of_several_does(tmp_path: Path) -> None:
    assert target(tmp_path, 'schema = 1\n[targets.a]\nuser = "1"').options.user == "1"
    error = refused(tmp_path, "schema = 1\n[targets.a]\n[targets.b]")
    assert (error.code, error.hint) == ("config-target-missing", "add --target a")
    assert refused(tmp_path, "schema = 1").code == "config-target-missing"


def test_groups_name_targets(tmp_path: Path) -> None:
    config = configfile.read(wrote(tmp_path, 'schema = 1\ngroups = { all = ["a", "b"] }\n[targets.a]\n[targets.b]'))
    assert (config.targets, config.groups) == (("a", "b"), {"all": ("a", "b")})
    with pytest.raises(UsageError, match="'all' is a group") as caught:
        config.target("all")
    assert caught.value.code == "config-target-unknown"


# --- pyproject.toml


def test_pyproject_holds_the_same_under_its_tool_table(tmp_path: Path) -> None:
    text = '[project]\nname = "x"\n[tool.ocibuild]\nschema = 1\n[tool.ocibuild.targets.a]\nuser = "7"'
    assert configfile.read(wrote(tmp_path, text, "pyproject.toml")).target().options.user == "7"
    assert configfile.read(tmp_path).target().options.user == "7"  # the folder means the file in it


def test_lines_are_right_in_pyproject_too(tmp_path: Path) -> None:
    text = '[project]\nuzer = "x"\n[tool.ocibuild]\nschema = 1\n[tool.ocibuild.targets.a]\nuzer = "7"'
    error = refused(tmp_path, text, "pyproject.toml")
    assert str(error).startswith(f"{tmp_path / 'pyproject.toml'}:6: targets.a.uzer is not known")


def test_a_pyproject_without_our_table_is_missing_it(tmp_path: Path) -> None:
    assert refused(tmp_path, '[project]\nname = "x"', "pyproject.toml").code == "config-missing"
    assert refused(tmp_path, "tool = 1", "pyproject.toml").code == "config-missing"


@pytest.mark.parametrize("asked", ["ocibuild.toml", "pyproject.toml"])
def test_two_config_files_side_by_side_are_one_too_many(asked: str, tmp_path: Path) -> None:
    wrote(tmp_path, "schema = 1")
    wrote(tmp_path, "[tool.ocibuild]\nschema = 1", "pyproject.toml")
    with pytest.raises(UsageError) as caught:
        configfile.read(tmp_path / asked)
    assert caught.value.code == "config-twice"


# --- errors


@pytest.mark.parametrize(
    "text, code, where, hint",
    [
        ("schema = 2", "config-invalid", ":1: schema must be 1", "schema = 1"),
        ("schema = true", "config-invalid", ":1: schema must be 1", "schema = 1"),
        ("", "config-invalid", ": schema must be 1", "schema = 1"),
        ("schema = 1\n[targets.a]\nentrypont = 'x'", "config-key-unknown", ":3: targets.a.entrypont is not known", "entrypoint?"),
        ("schema = 1\n[targets.a]\nstop_signal = 'x'", "config-key-unknown", ":3: targets.a.stop_signal", "stop-signal?"),
        ("schema = 1\n[target.a]", "config-key-unknown", ":2: target is not known", "targets?"),
        ("schema = 1\n[targets.a]\npush = true", "config-key-unknown", ":3: targets.a.push is not known", "--help"),
        ("schema = 1\n[defaults]\nfiles = []", "config-key-unknown", ":3: defaults.files is not known", ""),
        ("schema = 1\n\n# user\n[targets.a]\nuser = 7", "config-invalid", ":5: targets.a.user is not a string", ""),
        ("schema = 1\n[targets.a]\nmode = 0o755", "config-invalid", ":3: targets.a.mode is not a string", ""),
        ("schema = 1\n[targets.a]\nnonroot = 'yes'", "config-invalid", ":3: targets.a.nonroot is not true or false", ""),
        ("schema = 1\n[targets.a]\nexpose = '80'", "config-invalid", ":3: targets.a.expose is not an array", ""),
        ("schema = 1\n[targets.a]\nexpose = [\n1.5,\n]", "config-invalid", ":3: targets.a.expose is not an array", ""),
        ("schema = 1\n[targets.a]\nexpose = [true]", "config-invalid", ":3: targets.a.expose is not an array", ""),
        ("schema = 1\n[targets.a]\nenv = ['A=b']", "config-invalid", ":3: targets.a.env is not a table", ""),
        ("schema = 1\n[targets.a.env]\nA = 'b'\nB = true", "config-invalid", ":4: targets.a.env.B is not a string", ""),
        ("schema = 1\n[targets.a]\nfiles = 'x'", "config-invalid", ":3: targets.a.files is not an array", ""),
        ("schema = 1\n[targets.a]\nentrypoint = [1]", "config-invalid", ":3: targets.a.entrypoint is not an array", ""),
        ("schema = 1\ntargets = 1", "config-invalid", ":2: targets is not a table", ""),
        ("schema = 1\ntargets.a = 1", "config-invalid", ":2: targets.a is not a table", ""),
        ("schema = 1\nvars.a = 1\n[targets.a]", "config-invalid", ":2: vars.a is not a string", ""),
        ("schema = 1\n[targets.a]\n[targets.b]\ninherits = ['c']", "config-invalid", ":4: targets.b.inherits names 'c'", "there are a, b"),
        ("schema = 1\n[targets.one]\ninherits = ['c']", "config-invalid", ":3: targets.one.inherits names 'c'", "there is only one"),
        ("schema = 1\n[targets.hello]\n[groups]\nall = ['helo']", "config-invalid", ":4: groups.all names 'helo'", "hello?"),
        ("schema = 1\n[targets.a]\ninherits = ['a']", "config-invalid", ":3: targets.a.inherits leads back", ""),
        ("schema = 1\n[targets.a]\nuser = '${usr}'\n[vars]\nuser = '1'", "config-variable-unknown", ":3: targets.a.user ${usr}", "user?"),
        ("schema = 1\n[targets.a\nuser = ", "config-invalid", ":2: this is not TOML", ""),
        ("schema = 1\nuser = '", "config-invalid", ":2: this is not TOML", ""),
        ("schema = 1\nschema = 1", "config-invalid", ":2: this is not TOML", ""),
    ],
)  # fmt: skip
def test_an_error_names_line_and_key(text: str, code: str, where: str, hint: str, tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    assert error.code == code
    assert str(error).startswith(f"{tmp_path / 'ocibuild.toml'}{where}")
    assert hint in (error.hint or "")


def test_inheriting_in_a_circle_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, "schema = 1\n[targets.a]\ninherits = ['b']\n[targets.b]\ninherits = ['a']", target="a")
    assert error.code == "config-invalid"
    assert "by way of a and b" in str(error)


def test_a_file_that_cannot_be_read_is_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UsageError) as caught:
            configfile.read(path)
        assert caught.value.code == "config-missing"


@pytest.mark.parametrize("data", [b"\xff\xfe", b"#" * (1024 * 1024 + 1), b"a = " + b"[" * 50_000])
def test_bytes_that_are_no_config_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "ocibuild.toml").write_bytes(data)
    with pytest.raises(UsageError) as caught:
        configfile.read(tmp_path / "ocibuild.toml")
    assert caught.value.code == "config-invalid"


def test_a_target_without_a_config_is_wrong_usage() -> None:
    with pytest.raises(UsageError) as caught:
        configfile.asked(None, "a", [], [], Options())
    assert caught.value.code == "usage"


def test_an_unknown_target_is_guessed(tmp_path: Path) -> None:
    error = refused(tmp_path, "schema = 1\n[targets.hello]\n[targets.other]", target="helo")
    assert (error.code, error.hint) == ("config-target-unknown", "did you mean hello?")


# --- lines


@pytest.mark.parametrize(
    "text, path, line",
    [
        ("a = 1\nb = 2", ("b",), 2),
        ("# b\nb = 2", ("b",), 2),
        ('a = """\nb = 1\n"""\nb = 2', ("b",), 4),
        ("a = [\n'b',\n]\nb = 2", ("b",), 4),
        ("b = [\n1,\n2]", ("b",), 1),
        ("[x]\nb = 1\n[y]\nb = 2", ("y", "b"), 4),
        ("x.y.b = 1", ("x", "y", "b"), 1),
        ("[x]\ny = { b = 1 }", ("x", "y", "b"), 2),
        ('[x]\n"b c" = 1', ("x", "b c"), 2),
        ('"\\u0062" = 1', ("b",), None),  # written in another way than it is read
        ("a = 1", ("b",), None),
    ],
)
def test_the_line_of_a_key(text: str, path: tuple[str, ...], line: int | None) -> None:
    assert configlines.line_of(text, path) == line


# --- the schema


def test_the_published_schema_is_the_one_that_options_make() -> None:
    assert schema.load("ocibuild") == configschema.document(), "run scripts/docs"


@pytest.mark.parametrize(
    "document, fits",
    [
        ({"schema": 1}, True),
        ({"schema": 1, "targets": {"a": {"files": ["x"], "env": {"A": "b", "B": 1}, "cmd": ["x"], "cmd2": 1}}}, False),
        ({"schema": 1, "targets": {"a": {"files": ["x"], "env": {"A": "b", "B": 1}, "cmd": ["x"]}}}, True),
        ({"schema": 1, "targets": {"a": {"cmd": [1]}}}, False),
        ({"schema": 1, "targets": {"a": {"expose": [1, "2/udp"], "nonroot": True, "inherits": ["a"]}}}, True),
        ({"schema": 1, "targets": {"a": {"nonroot": "yes"}}}, False),
        ({"schema": 1, "targets": {"a": {"expose": "1"}}}, False),
        ({"schema": 1, "targets": {"a": {"mode": 755}}}, False),
        ({"schema": 1, "defaults": {"user": "1"}, "vars": {"a": "b"}, "groups": {"g": []}}, True),
        ({"schema": 1, "defaults": {"files": []}}, False),
        ({"schema": 1, "vars": {"a": 1}}, False),
        ({"schema": 2}, False),
        ({}, False),
        ({"schema": 1, "output": "x"}, False),
    ],
)
def test_the_schema_and_the_reader_agree(document: dict[str, Any], fits: bool, tmp_path: Path) -> None:
    assert verdicts(document, tmp_path) == [fits, fits]
